"""How many processes are in each state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import psutil

from cloudpulse import names
from exporter.families import Family, many

_ALWAYS = (
    psutil.STATUS_RUNNING,
    psutil.STATUS_SLEEPING,
    psutil.STATUS_DISK_SLEEP,
    psutil.STATUS_STOPPED,
    psutil.STATUS_ZOMBIE,
    psutil.STATUS_IDLE,
)
"""States shown even when no process is in them: a count of 0 is true, and alerts need it."""


class ProcessesCollector:
    """Reads psutil; a process that ends meanwhile isn't counted."""

    def collect(self) -> Iterable[Family]:
        """See Collector."""
        counts = Counter(dict.fromkeys(_ALWAYS, 0))
        counts.update(_states())
        yield many(names.PROCESSES, (((state,), count) for state, count in sorted(counts.items())))


def _states() -> Iterator[str]:
    for process in psutil.process_iter():
        try:
            yield process.status()
        except psutil.NoSuchProcess:
            continue
        except psutil.AccessDenied:
            yield "unknown"
