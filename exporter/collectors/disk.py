"""Disk I/O."""

from __future__ import annotations

from collections.abc import Iterable

from cloudpulse import names
from exporter.config import DiskSettings
from exporter.devices import by_device
from exporter.families import Family
from exporter.system import System

_FIELDS = {
    "read_bytes": names.DISK_READ_BYTES,
    "written_bytes": names.DISK_WRITTEN_BYTES,
    "reads": names.DISK_READS,
    "writes": names.DISK_WRITES,
    "io_seconds": names.DISK_IO_TIME,
}


class DiskCollector:
    """Counters of each disk."""

    def __init__(self, settings: DiskSettings, system: System) -> None:
        self._excluded = settings.excluded
        self._disks = system.disks

    def collect(self) -> Iterable[Family]:
        """See Collector."""
        shown = {device: counters for device, counters in self._disks().items() if device not in self._excluded}
        yield from by_device(_FIELDS, shown)
