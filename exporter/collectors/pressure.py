"""Pressure: how long tasks waited for CPU, memory and I/O. Linux only."""

from __future__ import annotations

from collections.abc import Iterable

from cloudpulse import names
from exporter.families import Family, one
from exporter.system import System

_DEFINITIONS = {
    ("cpu", "some"): names.PRESSURE_CPU_WAITING,
    ("io", "some"): names.PRESSURE_IO_WAITING,
    ("io", "full"): names.PRESSURE_IO_STALLED,
    ("memory", "some"): names.PRESSURE_MEMORY_WAITING,
    ("memory", "full"): names.PRESSURE_MEMORY_STALLED,
    ("irq", "full"): names.PRESSURE_IRQ_STALLED,
}
"""Not the CPU's `full`: it means nothing for a whole host, and the kernel writes 0 for the format's sake."""


class PressureCollector:
    """Shows what the kernel counts."""

    def __init__(self, system: System) -> None:
        self._pressure = system.pressure

    def collect(self) -> Iterable[Family]:
        """See Collector."""
        found = self._pressure()
        for (resource, kind), definition in _DEFINITIONS.items():
            if kind in found.get(resource, ()):
                yield one(definition, found[resource][kind])
