"""The flags, as the command takes them."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner

from cloudpulse.errors import ConfigError
from exporter.collectors import TABLE
from exporter.config import (
    CollectorSwitches,
    DiskSettings,
    ExporterSettings,
    FilesystemSettings,
    NetworkSettings,
    TextfileSettings,
    TopSettings,
)
from exporter.flags import NODE_EXPORTERS_NAMES, ExporterCommand, applied, collector_options
from exporter.paths import Paths

FILE = ExporterSettings(
    collectors=CollectorSwitches(swap=False, top=True),
    disk=DiskSettings(devices_exclude="^sd"),
    textfile=TextfileSettings(directories=("/file",), max_file_bytes=5),
)


class _Given(Exception):
    pass


def _given(*arguments: str) -> dict[str, Any]:
    """What the command gets for these arguments."""

    @click.command(cls=ExporterCommand)
    @collector_options
    def command(**given: Any) -> None:
        raise _Given(given)

    done = CliRunner().invoke(command, list(arguments))
    assert isinstance(done.exception, _Given), done.output
    found: dict[str, Any] = done.exception.args[0]
    return found


def _refused(*arguments: str) -> str:
    @click.command(cls=ExporterCommand)
    @collector_options
    def command(**given: Any) -> None:
        applied(FILE, given)

    done = CliRunner().invoke(command, list(arguments))
    if isinstance(done.exception, ConfigError):  # as `cloudpulse.cli.main` shows it, with exit code 2
        return str(done.exception)
    assert done.exit_code == 2
    return done.output


def test_without_flags_the_settings_are_the_files() -> None:
    assert applied(FILE, _given()) == FILE


def test_flags_beat_the_file() -> None:
    settings = applied(FILE, _given("--collector.swap", "--no-collector.cpu", "--no-collector.top"))
    assert settings.collectors == CollectorSwitches(swap=True, cpu=False, top=False)


def test_only_those_named_are_on_with_defaults_disabled() -> None:
    given = _given("--collector.disable-defaults", "--collector.cpu", "--collector.load")
    assert applied(ExporterSettings(), given).collectors.on == ("cpu", "load")


@pytest.mark.parametrize("name", TABLE)
def test_every_collector_has_its_flags(name: str) -> None:
    on = applied(ExporterSettings(), _given("--collector.disable-defaults", f"--collector.{name}"))
    off = applied(ExporterSettings(), _given(f"--no-collector.{name}"))
    assert on.collectors.on == (name,)
    assert name not in off.collectors.on


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        (["--collector.disk.device-exclude=^x"], ExporterSettings(disk=DiskSettings(devices_exclude="^x"))),
        (["--collector.network.device-include", "^e"], ExporterSettings(network=NetworkSettings(devices_include="^e"))),
        (
            ["--collector.filesystem.fs-types-exclude=", "--collector.filesystem.mount-points-exclude=^/run"],
            ExporterSettings(filesystem=FilesystemSettings(types_exclude="", mount_points_exclude="^/run")),
        ),
        (
            ["--collector.top.count=3", "--collector.top.command-line"],
            ExporterSettings(top=TopSettings(count=3, command_line=True)),
        ),
        (
            ["--collector.textfile.directory=/a", "--collector.textfile.directory=/b/*"],
            ExporterSettings(textfile=TextfileSettings(directories=("/a", "/b/*"))),
        ),
        (
            ["--path.procfs=/host/proc", "--path.sysfs=/host/sys", "--path.rootfs=/host/root"],
            ExporterSettings(paths=Paths(procfs="/host/proc", sysfs="/host/sys", rootfs="/host/root")),
        ),
    ],
)
def test_a_flag_sets_its_key(arguments: list[str], settings: ExporterSettings) -> None:
    assert applied(ExporterSettings(), _given(*arguments)) == settings


def test_a_flag_leaves_the_other_keys_of_the_section_to_the_file() -> None:
    textfile = applied(FILE, _given("--collector.textfile.directory=/flag")).textfile
    assert textfile == TextfileSettings(directories=("/flag",), max_file_bytes=5)


def test_an_include_of_the_flags_takes_the_place_of_the_files_exclude() -> None:
    assert applied(FILE, _given("--collector.disk.device-include=a")).disk == DiskSettings(devices_include="a")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--collector.gpu"], 'no collector is called "gpu"; expected one of cpu, memory'),
        (["--no-collector.diskstats"], "node_exporter's diskstats is disk here: --no-collector.disk"),
        (["--collector.netdev"], "node_exporter's netdev is network here: --collector.network"),
        (
            ["--collector.netdev.device-exclude=lo"],
            "node_exporter's netdev is network here: --collector.network.device-exclude",
        ),
        (["--collector.netdev.address-info"], "node_exporter's netdev is network here, and has no such setting"),
        (["--collector.disk.device-exclude=("], "not a regular expression: missing ), unterminated subpattern"),
        (
            ["--collector.disk.device-exclude=a", "--collector.disk.device-include=b"],
            "--collector.disk.device-exclude and --collector.disk.device-include can't both be given: keep one",
        ),
        (["--collector.top.count=0"], "0 is not in the range 1<=x<=100"),
        (["--path.procfs=proc"], 'procfs: expected an absolute path, got "proc"'),
        (["--collector.textfile.directory="], "directories: expected paths, got an empty one"),
        (["--colector.cpu"], "Did you mean"),
    ],
)
def test_a_wrong_flag_is_refused_with_what_would_be_right(arguments: list[str], message: str) -> None:
    assert message in " ".join(_refused(*arguments).split())


def test_the_hints_lead_to_collectors_that_there_are() -> None:
    assert set(NODE_EXPORTERS_NAMES.values()) <= set(TABLE)
    assert not set(NODE_EXPORTERS_NAMES) & set(TABLE)


def test_help_lists_every_collector_on_a_line_of_its_own() -> None:
    @click.command(cls=ExporterCommand)
    @collector_options
    def command(**given: Any) -> None:
        """Nothing."""

    lines = CliRunner().invoke(command, ["--help"]).output.splitlines()
    for name in TABLE:
        assert len([line for line in lines if line.strip().startswith(f"--[no-]collector.{name} ")]) == 1
    assert len([line for line in lines if "off by default" in line]) == 1
