"""Load averages."""

from __future__ import annotations

from collections.abc import Iterable

import psutil
from prometheus_client.core import Metric

from cloudpulse import names
from exporter.families import one


class LoadCollector:
    """Reads psutil, except on Windows, which has no load average: psutil's imitation begins as a 0 for nothing."""

    def collect(self) -> Iterable[Metric]:
        """See Collector."""
        if psutil.WINDOWS:
            return
        for definition, value in zip((names.LOAD1, names.LOAD5, names.LOAD15), psutil.getloadavg(), strict=True):
            yield one(definition, value)
