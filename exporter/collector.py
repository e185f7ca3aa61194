"""What a collector is, and the host: every collector in use, each timed and none able to fail or hold up the scrape."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping
from functools import partial
from typing import Protocol

from cloudpulse import logs, names
from cloudpulse.shared import FRESH_SECONDS
from exporter.families import Family, many
from exporter.reads import Outcome, Reads

log = logs.get(__name__)


class Collector(Protocol):
    """Yields metric families when scraped; called by one thread at a time, not always the same one.

    What the platform doesn't have is left out; an exception says that this collector could not do its work now.
    """

    def collect(self) -> Iterable[Family]:
        """Read the host now."""


class Host:
    """Collects from every collector, by name, and adds how long each took and whether it succeeded.

    A collector that fails, or is not done in time, shows none of its families, not the half that it had read.
    """

    def __init__(self, collectors: Mapping[str, Collector], seconds: Callable[[], float] = time.perf_counter) -> None:
        self._reads: Reads[list[Family]] = Reads("collectors", FRESH_SECONDS, seconds)
        self._lock = threading.Lock()
        self._outcomes: dict[str, bool] = {}
        self.use(collectors)

    def use(self, collectors: Mapping[str, Collector]) -> None:
        """Collect from these from the next scrape on. One that hangs isn't asked again under its name until it ends."""
        self._works = {name: partial(_families, collector) for name, collector in collectors.items()}

    @property
    def names(self) -> Collection[str]:
        """Of the collectors in use."""
        return self._works.keys()

    @property
    def outcomes(self) -> Mapping[str, bool]:
        """Whether each collector in use succeeded when it was last scraped; without those that were not yet."""
        with self._lock:
            return {name: succeeded for name, succeeded in self._outcomes.items() if name in self._works}

    def collect(self, timeout_seconds: float, only: Container[str] | None = None) -> Iterator[Family]:
        """One scrape of all collectors, or `only` some; what isn't read within `timeout_seconds` is left out."""
        works = {name: work for name, work in self._works.items() if only is None or name in only}
        outcomes = self._reads.read(works, timeout_seconds)
        self._note(outcomes)
        for outcome in outcomes.values():
            yield from outcome.value or ()
        yield many(names.COLLECTOR_DURATION, (((name,), outcome.seconds) for name, outcome in outcomes.items()))
        yield many(
            names.COLLECTOR_SUCCESS, (((name,), float(outcome.error is None)) for name, outcome in outcomes.items())
        )

    def _note(self, outcomes: Mapping[str, Outcome[list[Family]]]) -> None:
        """Log where a streak begins or ends."""
        succeeded = {name: outcome.error is None for name, outcome in outcomes.items()}
        with self._lock:
            before, self._outcomes = self._outcomes, self._outcomes | succeeded
        for name in [name for name in succeeded if before.get(name, True) is not succeeded[name]]:
            error = outcomes[name].error
            if error is None:
                log.info("collector works again", collector=name)
            elif isinstance(error, TimeoutError):
                log.error("collector not done in time, its series are left out", collector=name, error=str(error))
            else:
                log.error("collector failed, its series are left out", collector=name, error=str(error), exc_info=error)


def _families(collector: Collector) -> list[Family]:
    return list(collector.collect())
