"""CPU: seconds by mode, frequency, count."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from cloudpulse import names
from exporter.families import Family, Row, many
from exporter.system import System, Values

_BACKWARDS_SECONDS = 3.0
"""A CPU whose idle time falls by more was replaced while running; a real reset of its counters."""


class CpuCollector:
    """Remembers each CPU's times, since Linux lets them go backwards (proc(5) on iowait).

    To Prometheus a counter that falls by 0.01 s is one that restarted from 0: a rate of thousands of CPUs.
    """

    def __init__(self, system: System) -> None:
        self._system = system
        self._lock = threading.Lock()
        self._seen: dict[str, Values] = {}

    def collect(self) -> Iterable[Family]:
        """See Collector."""
        yield many(names.CPU_SECONDS, self._seconds())
        yield many(names.CPU_FREQUENCY, (((cpu,), hertz) for cpu, hertz in self._system.cpu_frequencies().items()))
        yield many(names.CPU_COUNT, (((kind,), count) for kind, count in self._system.cpu_counts().items()))

    def _seconds(self) -> list[Row]:
        # Read under the lock: of two scrapes at once, the later reading must also be the later kept.
        with self._lock:
            self._seen = {cpu: self._risen(cpu, now) for cpu, now in self._system.cpu_seconds().items()}
            return [((cpu, mode), seconds) for cpu, modes in self._seen.items() for mode, seconds in modes.items()]

    def _risen(self, cpu: str, now: Values) -> Values:
        before = self._seen.get(cpu)
        if before is None or before["idle"] - now["idle"] > _BACKWARDS_SECONDS:
            return now
        return {mode: max(seconds, before.get(mode, 0.0)) for mode, seconds in now.items()}
