"""Swap space and its traffic."""

from __future__ import annotations

from collections.abc import Iterable

from cloudpulse import names
from exporter.families import Family, one
from exporter.system import System

_FIELDS = {
    "total": names.SWAP_TOTAL,
    "used": names.SWAP_USED,
    "free": names.SWAP_FREE,
    "in": names.SWAP_IN,
    "out": names.SWAP_OUT,
}


class SwapCollector:
    """Shows what the platform knows."""

    def __init__(self, system: System) -> None:
        self._swap = system.swap

    def collect(self) -> Iterable[Family]:
        """See Collector."""
        swap = self._swap()
        for field, definition in _FIELDS.items():
            if field in swap:
                yield one(definition, swap[field])
