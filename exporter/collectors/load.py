"""Load averages."""

from __future__ import annotations

from collections.abc import Iterable

from cloudpulse import names
from exporter.families import Family, one
from exporter.system import System

_AVERAGES = (names.LOAD1, names.LOAD5, names.LOAD15)


class LoadCollector:
    """Shows nothing on a platform without load averages."""

    def __init__(self, system: System) -> None:
        self._load = system.load

    def collect(self) -> Iterable[Family]:
        """See Collector."""
        for definition, value in zip(_AVERAGES, self._load(), strict=False):
            yield one(definition, value)
