"""The `exporter` section: which collectors run, what they show and what they leave out."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from cloudpulse.config import Section
from cloudpulse.durations import Duration
from exporter.paths import Paths

# The defaults are node_exporter's, so that both show the same disks and filesystems.
# https://github.com/prometheus/node_exporter: diskstats_common.go, filesystem_linux.go
_DISKS = r"^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$"
_MOUNT_POINTS = r"^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)"
_FILESYSTEM_TYPES = (
    "^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|efivarfs|erofs|fusectl|hugetlbfs|iso9660"
    "|mqueue|nsfs|overlay|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|sysfs|tracefs)$"
)

DEFAULTS: Mapping[str, bool] = {
    "cpu": True,
    "memory": True,
    "swap": True,
    "load": True,
    "pressure": True,
    "network": True,
    "disk": True,
    "filesystem": True,
    "sensors": True,
    "processes": True,
    "top": False,  # its series come and go, and name what the host's users run
    "info": True,
    "clock": True,
    "textfile": True,  # shows nothing until it has a directory
}
"""Every collector, and whether it runs where nobody says."""


class CollectorSwitches(Section, frozen=True):
    """Which collectors run. Those that aren't named are on or off by `DEFAULTS`; with `disable_defaults`, off."""

    disable_defaults: bool = False
    cpu: bool | None = None
    memory: bool | None = None
    swap: bool | None = None
    load: bool | None = None
    pressure: bool | None = None
    network: bool | None = None
    disk: bool | None = None
    filesystem: bool | None = None
    sensors: bool | None = None
    processes: bool | None = None
    top: bool | None = None
    info: bool | None = None
    clock: bool | None = None
    textfile: bool | None = None

    @property
    def on(self) -> tuple[str, ...]:
        """The names of those that run, in the table's order."""
        said = {name: getattr(self, name) for name in DEFAULTS}
        return tuple(
            name
            for name, default in DEFAULTS.items()
            if (default and not self.disable_defaults if said[name] is None else said[name])
        )


class Exclusion:
    """Says which names the settings leave out. Unanchored, as node_exporter's expressions are; "" is none."""

    def __init__(self, exclude: str | None, include: str | None = None) -> None:
        self._leaves_out = re.compile(exclude).search if exclude else None
        self._shows = re.compile(include).search if include else None

    def __contains__(self, name: str) -> bool:
        if self._shows is not None:
            return self._shows(name) is None
        return self._leaves_out is not None and self._leaves_out(name) is not None


class NetworkSettings(Section, frozen=True):
    """Devices by name: all but those that match, or only those that do."""

    devices_exclude: str | None = None
    devices_include: str | None = None

    def __post_init__(self) -> None:
        _check_pair(devices_exclude=self.devices_exclude, devices_include=self.devices_include)

    @property
    def excluded(self) -> Exclusion:
        """Devices left out."""
        return Exclusion(self.devices_exclude, self.devices_include)


class DiskSettings(Section, frozen=True):
    """Devices by name. By default partitions are left out, since the disk counts for them, and memory is."""

    devices_exclude: str | None = None
    devices_include: str | None = None

    def __post_init__(self) -> None:
        _check_pair(devices_exclude=self.devices_exclude, devices_include=self.devices_include)

    @property
    def excluded(self) -> Exclusion:
        """Devices left out."""
        return Exclusion(_DISKS if self.devices_exclude is None else self.devices_exclude, self.devices_include)


class FilesystemSettings(Section, frozen=True):
    """Filesystems by mount point and by type. By default those that hold no files of a user are left out."""

    mount_points_exclude: str | None = None
    mount_points_include: str | None = None
    types_exclude: str | None = None
    types_include: str | None = None

    def __post_init__(self) -> None:
        _check_pair(
            mount_points_exclude=self.mount_points_exclude,
            mount_points_include=self.mount_points_include,
        )
        _check_pair(types_exclude=self.types_exclude, types_include=self.types_include)

    @property
    def excluded_mount_points(self) -> Exclusion:
        """Mount points left out."""
        exclude = _MOUNT_POINTS if self.mount_points_exclude is None else self.mount_points_exclude
        return Exclusion(exclude, self.mount_points_include)

    @property
    def excluded_types(self) -> Exclusion:
        """Types left out."""
        exclude = _FILESYSTEM_TYPES if self.types_exclude is None else self.types_exclude
        return Exclusion(exclude, self.types_include)


class TopSettings(Section, frozen=True):
    """How many names of processes are shown, by CPU and by memory each; by whole command line where asked.

    A command line may hold passwords.
    """

    count: int = 5
    command_line: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.count <= 100:
            raise ValueError(f"count: expected 1 to 100, got {self.count}")


class TextfileSettings(Section, frozen=True):
    """Directories (or patterns of them, such as /run/*/metrics) whose *.prom files are shown, and what may be in them.

    The limits bound memory: what is shown takes many times its bytes.
    """

    directories: tuple[str, ...] = ()
    max_file_bytes: int = 1 << 20
    max_total_bytes: int = 2 << 20

    def __post_init__(self) -> None:
        if not all(self.directories):
            raise ValueError("directories: expected paths, got an empty one")
        for key in ("max_file_bytes", "max_total_bytes"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key}: expected 1 or more, got {getattr(self, key)}")


class ExporterSettings(Section, frozen=True):
    """The whole section.

    `timeout` is how long a scrape waits for a collector; less where Prometheus says that it waits less itself.
    """

    timeout: Duration = Duration(10)
    collectors: CollectorSwitches = msgspec.field(default_factory=CollectorSwitches)
    network: NetworkSettings = msgspec.field(default_factory=NetworkSettings)
    disk: DiskSettings = msgspec.field(default_factory=DiskSettings)
    filesystem: FilesystemSettings = msgspec.field(default_factory=FilesystemSettings)
    top: TopSettings = msgspec.field(default_factory=TopSettings)
    textfile: TextfileSettings = msgspec.field(default_factory=TextfileSettings)
    paths: Paths = msgspec.field(default_factory=Paths)

    def __post_init__(self) -> None:
        if self.timeout <= 0:
            raise ValueError(f'timeout: expected a duration above 0 such as 10s, got "{self.timeout}"')


def _check_pair(**expressions: str | None) -> None:
    """Both must be regular expressions, and only one of them given. Raises ValueError."""
    for key, expression in expressions.items():
        try:
            re.compile(expression or "")
        except re.error as error:
            raise ValueError(f'{key}: not a regular expression: {error} (got "{expression}")') from error
    if all(expressions.values()):
        raise ValueError(f"{' and '.join(expressions)} can't both be set: keep one")
