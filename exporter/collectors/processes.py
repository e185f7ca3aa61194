"""How many processes are in each state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from cloudpulse import names
from exporter.families import Family, many
from exporter.processes import STATES
from exporter.system import System


class ProcessesCollector:
    """Counts what one pass over all of them has found."""

    def __init__(self, system: System) -> None:
        self._processes = system.processes

    def collect(self) -> Iterable[Family]:
        """See Collector."""
        counts = Counter(dict.fromkeys(STATES, 0))
        counts.update([process.state for process in self._processes()])
        yield many(names.PROCESSES, (((state,), count) for state, count in sorted(counts.items())))
