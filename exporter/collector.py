"""What a collector is, and the host: every collector in use, each timed and none able to fail the scrape."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from cloudpulse import logs, names
from exporter.families import Family, many

log = logs.get(__name__)


class Collector(Protocol):
    """Yields metric families when scraped; several scrapes may run at once.

    What the platform doesn't have is left out; an exception says that this collector could not do its work now.
    """

    def collect(self) -> Iterable[Family]:
        """Read the host now."""


class Host:
    """Collects from every collector, by name, and adds how long each took and whether it succeeded.

    A collector that fails shows none of its families, not the half that it had read.
    """

    def __init__(self, collectors: Mapping[str, Collector], seconds: Callable[[], float] = time.perf_counter) -> None:
        self._collectors = collectors
        self._seconds = seconds
        self._lock = threading.Lock()
        self._outcomes: dict[str, bool] = {}

    @property
    def outcomes(self) -> Mapping[str, bool]:
        """Whether each collector succeeded at its last scrape; empty before the first."""
        with self._lock:
            return dict(self._outcomes)

    def collect(self) -> Iterator[Family]:
        """One scrape."""
        durations: dict[str, float] = {}
        successes: dict[str, bool] = {}
        for name, collector in self._collectors.items():
            start = self._seconds()
            families = self._families(name, collector)
            durations[name] = self._seconds() - start
            successes[name] = families is not None
            yield from families or ()
        yield many(names.COLLECTOR_DURATION, (((name,), value) for name, value in durations.items()))
        yield many(names.COLLECTOR_SUCCESS, (((name,), float(value)) for name, value in successes.items()))

    def _families(self, name: str, collector: Collector) -> list[Family] | None:
        try:
            families = list(collector.collect())
        except Exception as error:  # whatever one collector does, the others are shown
            if self._changed(name, succeeded=False):
                log.error("collector failed, its series are left out", collector=name, error=str(error), exc_info=True)
            return None
        if self._changed(name, succeeded=True):
            log.info("collector works again", collector=name)
        return families

    def _changed(self, name: str, *, succeeded: bool) -> bool:
        """Note the outcome; True when a streak begins or ends, which is what is worth a log line."""
        with self._lock:
            before = self._outcomes.get(name, True)
            self._outcomes[name] = succeeded
        return before is not succeeded
