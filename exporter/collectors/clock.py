"""The host's clock: now, and when it booted."""

from __future__ import annotations

import time
from collections.abc import Iterable

import psutil

from cloudpulse import names
from exporter.families import Family, one


class ClockCollector:
    """Reads psutil and the clock."""

    def collect(self) -> Iterable[Family]:
        """See Collector."""
        yield one(names.BOOT_TIME, psutil.boot_time())
        yield one(names.TIME, time.time())
