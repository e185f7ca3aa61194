"""The series that can be asked for: the curves, and what `/metrics` shows of forecasts, both of the newest issues.

Of what is exported only the newest issue is known, so each such series is there as if it had been scraped: when it was
issued, again every 15 seconds (fewer times the older it is, but at least every 4 minutes, within what a query looks
back), and just now. Nothing is there before the issue, nothing after now, and nothing once it is stale.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloudpulse import names
from cloudpulse.clock import Clock
from cloudpulse.matcher import Matcher
from cloudpulse.names import Definition
from cloudpulse.promql import Labels
from forecaster import exporting
from forecaster.curves import Block, Curves, Hold
from forecaster.labelindex import LabelIndex
from forecaster.store import ForecastStore, Issue

SHORTEST, LONGEST = 15.0, 240.0
"""Seconds between two samples of what is exported."""
PARTS = 20


class Catalogue:
    """Selects series by matchers. For several threads."""

    def __init__(self, store: ForecastStore, curves: Curves, clock: Clock) -> None:
        self._store = store
        self._curves = curves
        self._clock = clock

    def select(self, matchers: Sequence[Matcher], start: float, end: float, hold: Hold) -> list[Block]:
        """The samples between two Unix times, both included, of all series that fulfil every matcher.

        `hold` is told of each block before it is made.
        """
        now = self._clock()
        blocks = self._curves.select(matchers, start, end, hold)
        for issue in self._store.fresh():
            times = moments(issue.issued_at, now)
            times = times[(times >= start) & (times <= end)]
            if len(times):
                blocks += _Exported(issue, self._curves.index_of(issue), matchers, times, hold).blocks()
        return blocks

    def listed(self, matchers: Sequence[Matcher]) -> Iterator[Labels]:
        """The labels of every series that fulfils the matchers, whenever its samples are."""
        now = self._clock()
        yield from self._curves.listed(matchers)
        for issue in self._store.fresh():
            newest = moments(issue.issued_at, now)[-1:]
            for block in _Exported(issue, self._curves.index_of(issue), matchers, newest, lambda *_: None).blocks():
                yield from block.labels


@dataclass(frozen=True)
class _Exported:
    """What the page shows of an issue, at some times."""

    issue: Issue
    index: LabelIndex
    matchers: Sequence[Matcher]
    times: NDArray[np.float64]
    hold: Hold

    def blocks(self) -> Iterator[Block]:
        """A block for each set of labels of our own, of those that fulfil the matchers."""
        for definition in exporting.BY_SERIES:
            named = {"__name__": definition.name, "forecast": self.issue.target.name}
            if self._fulfilled(named):
                ours = {"__name__", *definition.labels}
                rows = self.index.rows([one for one in self.matchers if one.name not in ours])
                if definition is names.FORECAST_INFO:
                    yield from self._infos(named, rows)
                else:
                    yield from self._columns(definition, named, rows)
        for definition, own, value in exporting.facts(self.issue):
            labels = {"__name__": definition.name, "forecast": self.issue.target.name, **own}
            if all(one.matches(labels) for one in self.matchers):
                yield from self._constant([labels], value)

    def _columns(self, definition: Definition, named: Labels, rows: NDArray[np.intp]) -> Iterator[Block]:
        if not len(rows):
            return
        found: list[list[tuple[Labels, NDArray[np.float64]]]] = []
        for moment in self.times.tolist():
            columns = exporting.columns(definition, self.issue, moment)
            found.append([(own, values[rows]) for own, values in columns if self._fulfilled(own)])
            if len(found) == 1:
                self.hold(len(found[0]) * len(rows), len(self.times))
        for column in zip(*found, strict=True):
            values = np.stack([values for _, values in column], axis=1)
            seen = ~np.isnan(values).all(1)
            if seen.any():
                own = {**named, **column[0][0]}
                labels = [{**self.issue.forecast.labels[i], **own} for i in rows[seen].tolist()]
                yield Block(labels, self.times, values[seen])

    def _infos(self, named: Labels, rows: NDArray[np.intp]) -> Iterator[Block]:
        of_source = [self.issue.forecast.labels[i] for i in rows.tolist()]
        labels = [{**one, **named, "matchers": exporting.as_matchers(one)} for one in of_source]
        yield from self._constant([one for one in labels if self._fulfilled(one)], 1.0)

    def _constant(self, labels: Sequence[Labels], value: float) -> Iterator[Block]:
        if labels:
            self.hold(len(labels), len(self.times))
            yield Block(labels, self.times, np.full((len(labels), len(self.times)), value))

    def _fulfilled(self, labels: Labels) -> bool:
        """Whether these labels fulfil the matchers that are about them."""
        return all(one.matches(labels) for one in self.matchers if one.name in labels)


def moments(issued_at: float, now: float) -> NDArray[np.float64]:
    """When samples of what is exported are: from the issue to now, Unix seconds in whole milliseconds."""
    age = now - issued_at
    apart = min(LONGEST, max(SHORTEST, age / PARTS))
    since = issued_at + apart * np.arange(max(0, int(np.ceil(age / apart))))
    whole: NDArray[np.float64] = np.floor(np.append(since, now) * 1000) / 1000
    return np.unique(whole)
