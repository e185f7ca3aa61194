"""The future as arrays: the paths of the fresh forecasts that fulfil matchers, as remote read and the query API ask.

Neither of those looks at matchers or at a forecast's age again: what is selected here is what a user sees.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloudpulse import names
from cloudpulse.matcher import Matcher
from cloudpulse.promql import Labels
from forecaster.labelindex import LabelIndex
from forecaster.store import ForecastStore, Issue

NAME = names.FORECAST_CURVE.name
LOOK_BACK_SECONDS = 300.0
"""Prometheus' default: a query that falls further behind a sample than this finds nothing."""


@dataclass(frozen=True)
class Block:
    """Paths on one grid: `values[i, j]` is that of `labels[i]` at Unix time `times[j]`, where NaN is no sample.

    Labels are full sets, `__name__` included. Times rise, in whole milliseconds; every row has a sample.
    """

    labels: Sequence[Labels]
    times: NDArray[np.float64]
    values: NDArray[np.float64]


class Curves:
    """Selects paths by their labels. For several threads.

    The index of a target's labels is kept as long as its series stay the same.
    """

    def __init__(self, store: ForecastStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._indexes: dict[str, LabelIndex] = {}

    def select(self, matchers: Sequence[Matcher], start: float, end: float) -> list[Block]:
        """Paths that fulfil every matcher, from Unix time `start` to `end`, both included.

        A block for each fresh forecast and configured level that has any. A label that isn't there counts as empty,
        as in PromQL. Where a step is longer than Prometheus looks back, points between lie on a straight line, so
        that no query falls into a gap.
        """
        if not _fulfilled(matchers, "__name__", NAME):
            return []
        issues = self._store.fresh()
        return [block for issue in issues for block in self._blocks(issue, self._index_of(issue), matchers, start, end)]

    def _index_of(self, issue: Issue) -> LabelIndex:
        name, labels = issue.target.name, issue.forecast.labels
        with self._lock:
            kept = self._indexes.get(name)
            if kept is None or (kept.labels is not labels and kept.labels != labels):
                kept = self._indexes[name] = LabelIndex(labels)
            kept.labels = labels  # the same by value: the next look need not compare
            return kept

    def _blocks(
        self, issue: Issue, index: LabelIndex, matchers: Sequence[Matcher], start: float, end: float
    ) -> Iterator[Block]:
        name = issue.target.name
        if not _fulfilled(matchers, "forecast", name):
            return
        levels = [k for k in _shown(issue) if _fulfilled(matchers, "level", f"{issue.forecast.levels[k]:g}")]
        if not levels:
            return
        rows = index.rows([one for one in matchers if one.name not in _OWN])
        if not len(rows):
            return
        grid = _Grid(issue)
        first, last = grid.between(start, end)
        if first == last:
            return
        for k in levels:
            values = grid.values(rows, first, last, k)
            seen = ~np.isnan(values).all(1)
            kept, values = (rows, values) if seen.all() else (rows[seen], values[seen])
            if len(kept):
                own = {"__name__": NAME, "forecast": name, "level": f"{issue.forecast.levels[k]:g}"}
                yield Block([{**index.labels[i], **own} for i in kept.tolist()], grid.times[first:last], values)


_OWN = frozenset({"__name__", "forecast", "level"})
"""Labels of ours, the same in all series of a target and level; no source has them."""


def _shown(issue: Issue) -> list[int]:
    """Positions of the configured levels: more are predicted than are asked for."""
    return [k for k, level in enumerate(issue.forecast.levels) if level in issue.target.levels]


def _fulfilled(matchers: Sequence[Matcher], name: str, value: str) -> bool:
    return all(one.matches({name: value}) for one in matchers if one.name == name)


class _Grid:
    """The steps of a forecast, divided where they are longer than Prometheus looks back."""

    def __init__(self, issue: Issue) -> None:
        forecast = issue.forecast
        self._paths = forecast.values
        self._parts = max(1, math.ceil(forecast.step / LOOK_BACK_SECONDS))
        count = (forecast.horizon - 1) * self._parts + 1 if forecast.horizon else 0
        exact = forecast.start + np.arange(count) * (forecast.step / self._parts)
        self.times: NDArray[np.float64] = np.rint(exact * 1000) / 1000

    def between(self, start: float, end: float) -> tuple[int, int]:
        """Positions of the first and after the last time of [start, end]."""
        first = int(np.searchsorted(self.times, start))
        return first, max(first, int(np.searchsorted(self.times, end, side="right")))

    def values(self, rows: NDArray[np.intp], first: int, last: int, level: int) -> NDArray[np.float64]:
        """Of these series and positions."""
        if self._parts == 1:
            return self._paths[rows, first:last, level]
        position = np.arange(first, last)
        low, part = position // self._parts, position % self._parts / self._parts
        path = self._paths[rows, :, level]
        values: NDArray[np.float64] = path[:, low]
        between = part > 0
        rest = part[between]
        values[:, between] = values[:, between] * (1 - rest) + path[:, low[between] + 1] * rest
        return values
