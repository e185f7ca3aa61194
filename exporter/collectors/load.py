"""Load averages."""

from __future__ import annotations

from collections.abc import Iterable

import psutil

from cloudpulse import names
from exporter.families import Family, one


class LoadCollector:
    """Reads psutil, except on Windows, which has no load average: psutil's imitation begins as a 0 for nothing."""

    def collect(self) -> Iterable[Family]:
        """See Collector."""
        if psutil.WINDOWS:
            return
        for definition, value in zip((names.LOAD1, names.LOAD5, names.LOAD15), psutil.getloadavg(), strict=True):
            yield one(definition, value)
