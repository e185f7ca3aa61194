"""Memory; which kinds there are differs by platform."""

from __future__ import annotations

from collections.abc import Iterable

from cloudpulse import names
from exporter.families import Family, one
from exporter.system import System

_FIELDS = {
    "total": names.MEMORY_TOTAL,
    "available": names.MEMORY_AVAILABLE,
    "used": names.MEMORY_USED,
    "free": names.MEMORY_FREE,
    "buffers": names.MEMORY_BUFFERS,
    "cached": names.MEMORY_CACHED,
    "shared": names.MEMORY_SHARED,
}


class MemoryCollector:
    """Shows what the platform knows."""

    def __init__(self, system: System) -> None:
        self._memory = system.memory

    def collect(self) -> Iterable[Family]:
        """See Collector."""
        memory = self._memory()
        for field, definition in _FIELDS.items():
            if field in memory:
                yield one(definition, memory[field])
