"""CPU: seconds by mode, frequency, count."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

import psutil

from cloudpulse import names
from exporter.families import Family, Row, many

_COUNTED_ELSEWHERE = ("guest", "guest_nice")
"""Linux counts a guest's time in `user` and `nice`, too; shown as modes, it would count twice in a sum."""

_BACKWARDS_SECONDS = 3.0
"""A CPU whose idle time falls by more was replaced while running; a real reset of its counters."""


class CpuCollector:
    """Reads psutil; remembers each CPU's times, since Linux lets them go backwards (proc(5) on iowait).

    To Prometheus a counter that falls by 0.01 s is one that restarted from 0: a rate of thousands of CPUs.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, dict[str, float]] = {}

    def collect(self) -> Iterable[Family]:
        """See Collector."""
        yield many(names.CPU_SECONDS, self._seconds())
        yield many(names.CPU_FREQUENCY, _frequencies())
        counts = (("logical", psutil.cpu_count()), ("physical", psutil.cpu_count(logical=False)))
        yield many(names.CPU_COUNT, (((kind,), count) for kind, count in counts))

    def _seconds(self) -> list[Row]:
        rows: list[Row] = []
        # Read under the lock: of two scrapes at once, the later reading must also be the later kept.
        with self._lock:
            for number, times in enumerate(psutil.cpu_times(percpu=True)):
                cpu, now = str(number), times._asdict()
                before = self._seen.get(cpu, {})
                if before.get("idle", 0.0) - now["idle"] > _BACKWARDS_SECONDS:
                    before = {}
                kept = {mode: max(seconds, before.get(mode, 0.0)) for mode, seconds in now.items()}
                self._seen[cpu] = kept
                rows += [((cpu, mode), kept[mode]) for mode in kept if mode not in _COUNTED_ELSEWHERE]
        return rows


def _frequencies() -> Iterator[Row]:
    # psutil has no cpu_freq where the platform has none, and gives 0 for a CPU that is offline.
    read = getattr(psutil, "cpu_freq", None)
    try:
        found = read(percpu=True) if read else None
    except (NotImplementedError, OSError):  # a virtual machine that shows no frequency is no failure
        return
    for number, frequency in enumerate(found or ()):
        if frequency.current > 0:
            yield (str(number),), frequency.current * 1e6
