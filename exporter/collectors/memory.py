"""Memory; which kinds there are differs by platform."""

from __future__ import annotations

from collections.abc import Iterable

import psutil

from cloudpulse import names
from exporter.families import Family, one

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
    """Reads psutil."""

    def collect(self) -> Iterable[Family]:
        """See Collector."""
        memory = psutil.virtual_memory()._asdict()
        for field, definition in _FIELDS.items():
            if field in memory:
                yield one(definition, memory[field])
