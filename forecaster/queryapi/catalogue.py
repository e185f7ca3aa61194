"""The series that can be asked for: the curves, and what `/metrics` shows of forecasts, both of the newest issues.

Of what is exported only the newest issue is known, so each such series is there as if it had been scraped: when it was
issued, again every 15 seconds (fewer times the older it is, but at least every 4 minutes, within what a query looks
back), and just now. Nothing is there before the issue, nothing after now, and nothing once it is stale.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from cloudpulse.clock import Clock
from cloudpulse.matcher import Matcher
from cloudpulse.names import Definition
from cloudpulse.promql import Labels
from forecaster import exporting
from forecaster.curves import Block, Curves
from forecaster.labelindex import LabelIndex
from forecaster.store import ForecastStore, Issue

SHORTEST, LONGEST = 15.0, 240.0
"""Seconds between two samples of what is exported."""
PARTS = 20
_ALWAYS = 1e15


class Catalogue:
    """Selects series by matchers. For several threads."""

    def __init__(self, store: ForecastStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._curves = Curves(store)
        self._lock = threading.Lock()
        self._indexes: dict[str, LabelIndex] = {}

    def select(self, matchers: Sequence[Matcher], start: float, end: float) -> list[Block]:
        """The samples between two Unix times, both included, of all series that fulfil every matcher."""
        now = self._clock()
        blocks = self._curves.select(matchers, start, end)
        for issue in self._store.fresh():
            times = moments(issue.issued_at, now)
            times = times[(times >= start) & (times <= end)]
            if len(times):
                blocks += self._exported(issue, matchers, times)
        return blocks

    def listed(self, matchers: Sequence[Matcher]) -> list[Block]:
        """Every series that fulfils the matchers, whenever its samples are."""
        now = self._clock()
        blocks = self._curves.select(matchers, -_ALWAYS, _ALWAYS)
        for issue in self._store.fresh():
            blocks += self._exported(issue, matchers, moments(issue.issued_at, now)[-1:])
        return blocks

    def _exported(self, issue: Issue, matchers: Sequence[Matcher], times: NDArray[np.float64]) -> Iterator[Block]:
        """A block for each set of labels of our own."""

        def wanted(definition: Definition) -> bool:
            return _fulfilled(matchers, {"__name__": definition.name, "forecast": issue.target.name})

        found = [list(exporting.columns(issue, moment, wanted)) for moment in times.tolist()]
        for column in zip(*found, strict=True):
            definition, own, _ = column[0]
            labels = {"__name__": definition.name, "forecast": issue.target.name, **own}
            if not _fulfilled(matchers, labels):
                continue
            rows = self._index_of(issue).rows([one for one in matchers if one.name not in labels])
            values = np.stack([values[rows] for _, _, values in column], axis=1)
            seen = ~np.isnan(values).all(1)
            rows, values = rows[seen], values[seen]
            if len(rows):
                yield Block([{**issue.forecast.labels[i], **labels} for i in rows.tolist()], times, values)
        for definition, own, value in exporting.facts(issue):
            labels = {"__name__": definition.name, "forecast": issue.target.name, **own}
            if all(one.matches(labels) for one in matchers):
                yield Block([labels], times, np.full((1, len(times)), value))

    def _index_of(self, issue: Issue) -> LabelIndex:
        name, labels = issue.target.name, issue.forecast.labels
        with self._lock:
            kept = self._indexes.get(name)
            if kept is None or (kept.labels is not labels and kept.labels != labels):
                kept = self._indexes[name] = LabelIndex(labels)
            kept.labels = labels  # the same by value: the next look need not compare
            return kept


def moments(issued_at: float, now: float) -> NDArray[np.float64]:
    """When samples of what is exported are: from the issue to now, Unix seconds in whole milliseconds."""
    age = now - issued_at
    apart = min(LONGEST, max(SHORTEST, age / PARTS))
    since = issued_at + apart * np.arange(max(0, int(np.ceil(age / apart))))
    whole: NDArray[np.float64] = np.floor(np.append(since, now) * 1000) / 1000
    return np.unique(whole)


def _fulfilled(matchers: Sequence[Matcher], labels: Labels) -> bool:
    """Whether these labels fulfil the matchers that are about them."""
    return all(one.matches(labels) for one in matchers if one.name in labels)
