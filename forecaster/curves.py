"""The future as arrays: the paths of the fresh forecasts that fulfil matchers, as remote read and the query API ask.

Neither of those looks at matchers or at a forecast's age again: what is selected here is what a user sees.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
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


Hold = Callable[[int, int], None]
"""Told how many rows and columns a block is about to have; raises where that is too much."""


class Curves:
    """Selects paths by their labels. For several threads.

    The index of a target's labels is kept as long as its series stay the same.
    """

    def __init__(self, store: ForecastStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._indexes: dict[str, LabelIndex] = {}

    def select(
        self, matchers: Sequence[Matcher], start: float, end: float, hold: Hold = lambda _rows, _columns: None
    ) -> list[Block]:
        """Paths that fulfil every matcher, from Unix time `start` to `end`, both included.

        A block for each fresh forecast and configured level that has any; `hold` is told of each before it is made. A
        label that isn't there counts as empty, as in PromQL. A path begins with the newest value, where that is known:
        so it joins the actual, and a query at now finds it. Where a step is longer than Prometheus looks back, points
        between lie on a straight line, so that no query falls into a gap.
        """
        blocks = []
        for found in self._found(matchers):
            grid = _Grid(found.issue)
            first, last = grid.between(start, end)
            if first == last:
                continue
            hold(len(found.rows), last - first)
            values = grid.values(found.rows, first, last, found.level)
            seen = ~np.isnan(values).all(1)
            rows, values = (found.rows, values) if seen.all() else (found.rows[seen], values[seen])
            if len(rows):
                blocks.append(Block(found.labels(rows), grid.times[first:last], values))
        return blocks

    def listed(self, matchers: Sequence[Matcher]) -> Iterator[Labels]:
        """The labels of each path that fulfils every matcher, whenever its samples are."""
        for found in self._found(matchers):
            unseen: NDArray[np.bool_] = np.asarray(np.isnan(found.issue.forecast.values[:, :, found.level]).all(1))
            yield from found.labels(found.rows[~unseen[found.rows]])

    def index_of(self, issue: Issue) -> LabelIndex:
        """The index of an issue's series."""
        name, labels = issue.target.name, issue.forecast.labels
        with self._lock:
            kept = self._indexes.get(name)
            if kept is None or (kept.labels is not labels and kept.labels != labels):
                kept = self._indexes[name] = LabelIndex(labels)
            kept.labels = labels  # the same by value: the next look need not compare
            return kept

    def _forget(self, but: Collection[str]) -> None:
        """Drop the indexes of targets that are gone, each of which holds the labels of all of its series."""
        with self._lock:
            for name in self._indexes.keys() - but:
                del self._indexes[name]

    def _found(self, matchers: Sequence[Matcher]) -> Iterator[_Found]:
        if not _fulfilled(matchers, "__name__", NAME):
            return
        of_source = [one for one in matchers if one.name not in _OWN]
        issues = self._store.fresh()
        self._forget({issue.target.name for issue in issues})
        for issue in issues:
            if not _fulfilled(matchers, "forecast", issue.target.name):
                continue
            rows = None
            for k in _shown(issue):
                if _fulfilled(matchers, "level", f"{issue.forecast.levels[k]:g}"):
                    rows = self.index_of(issue).rows(of_source) if rows is None else rows
                    yield _Found(issue, k, rows)


@dataclass(frozen=True)
class _Found:
    """Series of a forecast that were asked for, at one of its levels."""

    issue: Issue
    level: int
    rows: NDArray[np.intp]

    def labels(self, rows: NDArray[np.intp]) -> list[Labels]:
        """Full sets."""
        forecast = self.issue.forecast
        own = {"__name__": NAME, "forecast": self.issue.target.name, "level": f"{forecast.levels[self.level]:g}"}
        return [{**forecast.labels[i], **own} for i in rows.tolist()]


_OWN = frozenset({"__name__", "forecast", "level"})
"""Labels of ours, the same in all series of a target and level; no source has them."""


def _shown(issue: Issue) -> list[int]:
    """Positions of the configured levels: more are predicted than are asked for."""
    return [k for k, level in enumerate(issue.forecast.levels) if level in issue.target.levels]


def _fulfilled(matchers: Sequence[Matcher], name: str, value: str) -> bool:
    return all(one.matches({name: value}) for one in matchers if one.name == name)


class _Grid:
    """The newest value, where any is known, and the steps of a forecast, divided where they are longer than Prometheus
    looks back."""

    def __init__(self, issue: Issue) -> None:
        forecast = issue.forecast
        self._paths, self._newest = forecast.values, issue.observed
        self._before = 0 if np.isnan(issue.observed).all() else 1
        self._parts = max(1, math.ceil(forecast.step / LOOK_BACK_SECONDS))
        steps = forecast.horizon + self._before
        count = (steps - 1) * self._parts + 1 if forecast.horizon else 0
        exact = forecast.start + (np.arange(count) / self._parts - self._before) * forecast.step
        self.times: NDArray[np.float64] = np.rint(exact * 1000) / 1000

    def between(self, start: float, end: float) -> tuple[int, int]:
        """Positions of the first and after the last time of [start, end]."""
        first = int(np.searchsorted(self.times, start))
        return first, max(first, int(np.searchsorted(self.times, end, side="right")))

    def values(self, rows: NDArray[np.intp], first: int, last: int, level: int) -> NDArray[np.float64]:
        """Of these series and positions, of which there is one."""
        if self._parts == 1:
            return self._steps(rows, first, last, level)
        begin = first // self._parts
        steps = self._steps(rows, begin, (last - 1) // self._parts + 2, level)
        position = np.arange(first, last)
        low, part = position // self._parts - begin, position % self._parts / self._parts
        values: NDArray[np.float64] = steps[:, low]
        between = part > 0
        rest = part[between]
        values[:, between] = values[:, between] * (1 - rest) + steps[:, low[between] + 1] * rest
        return values

    def _steps(self, rows: NDArray[np.intp], first: int, last: int, level: int) -> NDArray[np.float64]:
        """Whole steps, the newest value being the first where it is known: at all levels, since it is certain."""
        path = self._paths[rows, max(0, first - self._before) : last - self._before, level]
        if first >= self._before:
            return path
        leads_on = ~np.isnan(self._paths[rows, 0, level])
        return np.column_stack((np.where(leads_on, self._newest[rows], np.nan), path))
