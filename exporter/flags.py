"""The exporter's own flags, in node_exporter's words, and how they change the settings of the file.

One table: a flag sets the key of the config that it names, and beats the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import click
import msgspec

from cloudpulse.errors import ConfigError
from exporter.config import DEFAULTS, ExporterSettings

Function = TypeVar("Function", bound=Callable[..., Any])

NODE_EXPORTERS_NAMES = {
    "diskstats": "disk",
    "netdev": "network",
    "netclass": "network",
    "meminfo": "memory",
    "loadavg": "load",
    "stat": "clock",
    "time": "clock",
    "uname": "info",
    "os": "info",
    "hwmon": "sensors",
    "thermal_zone": "sensors",
    "powersupplyclass": "sensors",
    "cpufreq": "cpu",
    "vmstat": "swap",
}
"""Its collectors that are called otherwise here, for a hint."""

_ABOUT = {
    "cpu": "CPU seconds by mode, frequency, count",
    "memory": "memory by use",
    "swap": "swap space and its traffic",
    "load": "load averages",
    "pressure": "time lost to waiting for CPU, memory and I/O (Linux PSI)",
    "network": "traffic, errors and state of network devices",
    "disk": "reads, writes and busy time of disks",
    "filesystem": "size, free space and inodes of filesystems",
    "sensors": "temperatures, fans, battery",
    "processes": "number of processes by state",
    "top": "the processes that take most CPU and memory, by name",
    "info": "host name, kernel, distribution",
    "clock": "time, boot time",
    "textfile": "*.prom files of --collector.textfile.directory",
}


@dataclass(frozen=True)
class _Flag:
    """`--name VALUE` for the config's `section.key`; `undoes` is the key that can't be set beside it."""

    name: str
    section: str
    key: str
    help: str
    undoes: str | None = None
    kind: Any = str
    metavar: str | None = None
    multiple: bool = False

    @property
    def parameter(self) -> str:
        return f"{self.section}_{self.key}"


def _filters(place: str, what: str, section: str, key: str) -> tuple[_Flag, _Flag]:
    exclude, include = f"{key}_exclude", f"{key}_include"
    return (
        _Flag(f"{place}-exclude", section, exclude, f"Leave out {what} that match.", include, metavar="REGEX"),
        _Flag(f"{place}-include", section, include, f"Show only {what} that match.", exclude, metavar="REGEX"),
    )


FLAGS = (
    _Flag("--path.procfs", "paths", "procfs", "Where the host's /proc is.", metavar="DIR"),
    _Flag("--path.sysfs", "paths", "sysfs", "Where the host's /sys is.", metavar="DIR"),
    _Flag("--path.rootfs", "paths", "rootfs", "Where the host's / is.", metavar="DIR"),
    _Flag(
        "--collector.disable-defaults",
        "collectors",
        "disable_defaults",
        "Only collectors that are turned on by name.",
        kind=bool,
    ),
    *_filters("--collector.network.device", "network devices", "network", "devices"),
    *_filters("--collector.disk.device", "disks", "disk", "devices"),
    *_filters("--collector.filesystem.mount-points", "mount points", "filesystem", "mount_points"),
    *_filters("--collector.filesystem.fs-types", "types of filesystem", "filesystem", "types"),
    _Flag(
        "--collector.top.count",
        "top",
        "count",
        "How many names, by CPU and by memory each (5).",
        kind=click.IntRange(1, 100),
        metavar="N",
    ),
    _Flag(
        "--collector.top.command-line",
        "top",
        "command_line",
        "By whole command line, which may hold passwords, instead of by name.",
        kind=bool,
    ),
    _Flag(
        "--collector.textfile.directory",
        "textfile",
        "directories",
        "Show its *.prom files; may be given several times, and be a pattern.",
        metavar="DIR",
        multiple=True,
    ),
)


def collector_options(function: Function) -> Function:
    """Every flag of the table, and `--collector.NAME`, `--no-collector.NAME` of every collector.

    The decorated function gets them as keywords for `applied`.
    """
    for flag in reversed(FLAGS):
        function = click.option(
            flag.name,
            flag.parameter,
            type=None if flag.kind is bool else flag.kind,
            is_flag=flag.kind is bool,
            default=None,
            multiple=flag.multiple,
            metavar=flag.metavar,
            help=flag.help,
            callback=_regex if flag.metavar == "REGEX" else None,
        )(function)
    for name in reversed(list(DEFAULTS)):
        function = click.option(
            f"--collector.{name}/--no-collector.{name}", f"collectors_{name}", default=None, hidden=True
        )(function)
    return function


def applied(settings: ExporterSettings, given: Mapping[str, Any]) -> ExporterSettings:
    """The settings with what the flags say in its place; raises ConfigError."""
    changes: dict[str, dict[str, Any]] = {}
    for name in DEFAULTS:
        if given.get(f"collectors_{name}") is not None:
            changes.setdefault("collectors", {})[name] = given[f"collectors_{name}"]
    for flag in FLAGS:
        value = given.get(flag.parameter)
        if value is None or value == ():
            continue
        change = changes.setdefault(flag.section, {})
        if flag.undoes is not None and change.get(flag.undoes):
            other = next(one.name for one in FLAGS if (one.section, one.key) == (flag.section, flag.undoes))
            raise ConfigError(f"{other} and {flag.name} can't both be given: keep one")
        change.setdefault(flag.key, value)
        if flag.undoes is not None:
            change.setdefault(flag.undoes, None)
    sections = {}
    for section, change in changes.items():
        try:
            sections[section] = msgspec.structs.replace(getattr(settings, section), **change)
        except ValueError as error:
            raise ConfigError(f"the flags of {section}: {error}") from error
    return msgspec.structs.replace(settings, **sections)


class ExporterCommand(click.Command):
    """Shows the collectors' switches as a list of their own, and knows what node_exporter calls them."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Options, then collectors."""
        super().format_options(ctx, formatter)
        with formatter.section("Collectors"):
            formatter.write_dl(
                [
                    (f"--[no-]collector.{name}", f"{_ABOUT[name]} ({'on' if on else 'off'} by default)")
                    for name, on in DEFAULTS.items()
                ]
            )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does; an unknown collector is answered with those that there are."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            found = re.fullmatch(r"--(no-)?collector\.([\w-]+)(\.[\w-]+)?", error.option_name)
            if found is None or found[2] in DEFAULTS:
                raise
            raise click.UsageError(f'no collector is called "{found[2]}"; {_hint(*found.groups())}', ctx) from error


def _hint(no: str | None, name: str, setting: str | None) -> str:
    ours = NODE_EXPORTERS_NAMES.get(name)
    if ours is None:
        return f"expected one of {', '.join(DEFAULTS)}"
    flag = f"--collector.{ours}{setting}"
    if setting is not None and flag not in {known.name for known in FLAGS}:
        return f"node_exporter's {name} is {ours} here, and has no such setting"
    return f"node_exporter's {name} is {ours} here: --{no or ''}collector.{ours}{setting or ''}"


def _regex(_ctx: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    try:
        re.compile(value or "")
    except re.error as error:
        raise click.BadParameter(f'not a regular expression: {error} (got "{value}")') from error
    return value
