"""The `exporter` section: which collectors run, and what they leave out."""

from __future__ import annotations

import re

import msgspec

from cloudpulse.config import Section
from cloudpulse.durations import Duration

# The defaults are node_exporter's, so that both show the same disks and filesystems.
# https://github.com/prometheus/node_exporter: diskstats_common.go, filesystem_linux.go
_DISKS = r"^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$"
_MOUNT_POINTS = r"^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)"
_FILESYSTEM_TYPES = (
    "^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|efivarfs|erofs|fusectl|hugetlbfs|iso9660"
    "|mqueue|nsfs|overlay|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|sysfs|tracefs)$"
)


class CollectorSwitches(Section, frozen=True):
    """Which collectors run."""

    cpu: bool = True
    memory: bool = True
    swap: bool = True
    load: bool = True
    network: bool = True
    disk: bool = True
    filesystem: bool = True
    processes: bool = True
    info: bool = True
    clock: bool = True

    def __post_init__(self) -> None:
        if not any(getattr(self, name) for name in self.__struct_fields__):
            raise ValueError("every collector is off: leave at least one on")


class NetworkSettings(Section, frozen=True):
    """Devices whose name matches are left out; an empty expression leaves out none."""

    devices_exclude: str = ""

    def __post_init__(self) -> None:
        _check(devices_exclude=self.devices_exclude)


class DiskSettings(Section, frozen=True):
    """Devices whose name matches are left out: partitions, since the disk counts for them, and memory."""

    devices_exclude: str = _DISKS

    def __post_init__(self) -> None:
        _check(devices_exclude=self.devices_exclude)


class FilesystemSettings(Section, frozen=True):
    """Filesystems whose mount point or type matches are left out."""

    mount_points_exclude: str = _MOUNT_POINTS
    types_exclude: str = _FILESYSTEM_TYPES

    def __post_init__(self) -> None:
        _check(mount_points_exclude=self.mount_points_exclude, types_exclude=self.types_exclude)


class ExporterSettings(Section, frozen=True):
    """The whole section.

    `timeout` is how long a scrape waits for a collector; less where Prometheus says that it waits less itself.
    """

    timeout: Duration = Duration(10)
    collectors: CollectorSwitches = msgspec.field(default_factory=CollectorSwitches)
    network: NetworkSettings = msgspec.field(default_factory=NetworkSettings)
    disk: DiskSettings = msgspec.field(default_factory=DiskSettings)
    filesystem: FilesystemSettings = msgspec.field(default_factory=FilesystemSettings)

    def __post_init__(self) -> None:
        if self.timeout <= 0:
            raise ValueError(f'timeout: expected a duration above 0 such as 10s, got "{self.timeout}"')


class Exclusion:
    """Says which names a setting leaves out. Unanchored, as node_exporter's flags are."""

    def __init__(self, expression: str) -> None:
        self._search = re.compile(expression).search if expression else None

    def __contains__(self, name: str) -> bool:
        return self._search is not None and self._search(name) is not None


def _check(**expressions: str) -> None:
    for key, expression in expressions.items():
        try:
            re.compile(expression)
        except re.error as error:
            raise ValueError(f'{key}: not a regular expression: {error} (got "{expression}")') from error
