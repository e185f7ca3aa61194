"""The host's clock: now, and when it booted."""

from __future__ import annotations

import time
from collections.abc import Iterable

from cloudpulse import names
from exporter.families import Family, one
from exporter.system import System


class ClockCollector:
    """System the platform and the clock."""

    def __init__(self, system: System) -> None:
        self._boot_time = system.boot_time

    def collect(self) -> Iterable[Family]:
        """See Collector."""
        yield one(names.BOOT_TIME, self._boot_time())
        yield one(names.TIME, time.time())
