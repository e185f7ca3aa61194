"""How many processes are in each state."""

from __future__ import annotations

from collections.abc import Iterable

from cloudpulse import names
from exporter.families import Family, many
from exporter.processes import STATES
from exporter.system import System


class ProcessesCollector:
    """Shows the usual states, and the others that there are."""

    def __init__(self, system: System) -> None:
        self._states = system.process_states

    def collect(self) -> Iterable[Family]:
        """See Collector."""
        counts = {**dict.fromkeys(STATES, 0), **self._states()}
        yield many(names.PROCESSES, (((state,), count) for state, count in sorted(counts.items())))
