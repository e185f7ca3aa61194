"""Pressure stall information: how long tasks waited for CPU, memory and I/O. Linux only."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from pathlib import Path

from cloudpulse import names
from exporter.families import Family, one
from exporter.paths import Paths

_RESOURCES = {
    "cpu": {"some": names.PRESSURE_CPU_WAITING},
    "io": {"some": names.PRESSURE_IO_WAITING, "full": names.PRESSURE_IO_STALLED},
    "memory": {"some": names.PRESSURE_MEMORY_WAITING, "full": names.PRESSURE_MEMORY_STALLED},
    "irq": {"full": names.PRESSURE_IRQ_STALLED},
}
"""A file's lines and the series that they become.

The CPU's `full` means nothing for a whole host: the kernel writes 0 since 5.13, for the format's sake.
https://docs.kernel.org/accounting/psi.html
"""

_TOTAL = re.compile(r"^(some|full) .*\btotal=(\d+)$", re.MULTILINE)
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.EOPNOTSUPP)
"""A kernel without PSI, without the one file (irq: since 6.1, by config), or with PSI turned off at boot (psi=0)."""


class PressureCollector:
    """Reads /proc/pressure, whose totals are microseconds."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def collect(self) -> Iterable[Family]:
        """See Collector."""
        for resource, definitions in _RESOURCES.items():
            try:
                text = Path(self._paths.proc(f"pressure/{resource}")).read_text(encoding="ascii")
            except OSError as error:
                if error.errno in _NOT_THERE:
                    continue
                raise
            for kind, microseconds in _TOTAL.findall(text):
                if kind in definitions:
                    yield one(definitions[kind], int(microseconds) / 1e6)
