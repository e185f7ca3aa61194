"""Disk I/O."""

from __future__ import annotations

from collections.abc import Iterable

import psutil

from cloudpulse import names
from exporter.config import DiskSettings
from exporter.families import Family, many

_FIELDS = {
    "read_bytes": (names.DISK_READ_BYTES, 1.0),
    "write_bytes": (names.DISK_WRITTEN_BYTES, 1.0),
    "read_count": (names.DISK_READS, 1.0),
    "write_count": (names.DISK_WRITES, 1.0),
    "busy_time": (names.DISK_IO_TIME, 1000.0),
}
"""psutil's field, and how many of its units make one of the series'. Only Linux and FreeBSD know the busy time."""


class DiskCollector:
    """Reads psutil."""

    def __init__(self, settings: DiskSettings) -> None:
        self._excluded = settings.excluded

    def collect(self) -> Iterable[Family]:
        """See Collector."""
        # nowrap=False: as for the network, restarts are Prometheus' work. A machine without disks gives None.
        devices = psutil.disk_io_counters(perdisk=True, nowrap=False) or {}
        shown = {name: counters._asdict() for name, counters in devices.items() if name not in self._excluded}
        for field, (definition, divisor) in _FIELDS.items():
            rows = [((name,), counters[field] / divisor) for name, counters in shown.items() if field in counters]
            yield many(definition, rows)
