"""What an alert's expression says now and said before: its own series among all that the expression answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alert_bridge.insights import question
from alert_bridge.insights.expression import Condition
from cloudpulse.promql import Labels, MetricSource, Sample

MOST_SERIES = 5000
"""An expression that answers more is left alone: none of them would be read in time."""
MOST_POINTS = 180
LEAST_STEP = 15.0


@dataclass(frozen=True)
class Grid:
    """Moments: `start`, `start + step`, … `end`, which is now, in Unix seconds."""

    start: float
    end: float
    step: float

    @classmethod
    def until(cls, now: float, seconds: float) -> Grid:
        """The last `seconds` in at most MOST_POINTS."""
        step = max(LEAST_STEP, math.ceil(seconds / MOST_POINTS))
        return cls(now - int(seconds / step) * step, now, step)

    @property
    def times(self) -> NDArray[np.float64]:
        """All moments."""
        return self.start + self.step * np.arange(round((self.end - self.start) / self.step) + 1, dtype=np.float64)


@dataclass(frozen=True)
class Reading:
    """A condition and what its left side answers now."""

    condition: Condition
    samples: Sequence[Sample]

    @property
    def names(self) -> set[str]:
        """The names of the labels that any of its series has."""
        return {name for one in self.samples for name in one.labels if name != "__name__"}

    def own(self, labels: Labels) -> Sample | None:
        """The series of an alert with these labels; None where that can't be said."""
        return own(self.samples, labels)

    def paths(self, source: MetricSource, wanted: Sequence[Labels], grid: Grid) -> list[NDArray[np.float64]]:
        """The values of these of its series over the grid, NaN where there are none; raises SourceError."""
        return paths(source, question.only(self.condition.left, self.names, wanted), self.names, wanted, grid)


def read(source: MetricSource, condition: Condition, now: float) -> Reading:
    """Ask for the left side, after how many series it has; raises SourceError."""
    counted = source.instant(f"count({condition.left}\n)", now)
    if not counted or counted[0].value > MOST_SERIES:
        return Reading(condition, ())
    return Reading(condition, source.instant(condition.left, now))


def own(samples: Sequence[Sample], labels: Labels) -> Sample | None:
    """The sample of an alert's series.

    An alert has its series' labels and those of its rule, its Prometheus and its relabelling. So the series is the one
    whose labels are all found there; where a rule took labels away, the only one that has no other value of any.
    """
    whole = [one for one in samples if all(labels.get(name) == value for name, value in _shown(one.labels).items())]
    if whole:
        return max(whole, key=lambda one: len(one.labels))
    fits = [
        one for one in samples if all(labels.get(name, value) == value for name, value in _shown(one.labels).items())
    ]
    return fits[0] if len(fits) == 1 else None


def paths(
    source: MetricSource, query: str, names: set[str], wanted: Sequence[Labels], grid: Grid
) -> list[NDArray[np.float64]]:
    """The answer to `query` over the grid, in the order of `wanted`, told apart by the labels `names`."""
    found = {_key(one.labels, names): one for one in source.range(query, grid.start, grid.end, grid.step)}
    answer = []
    for labels in wanted:
        values = np.full(grid.times.shape, np.nan)
        if (one := found.get(_key(labels, names))) is not None:
            values[np.rint((one.times - grid.start) / grid.step).astype(int)] = one.values
        answer.append(np.where(np.isfinite(values), values, np.nan))
    return answer


def _key(labels: Labels, names: set[str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, value) for name, value in labels.items() if name in names))


def _shown(labels: Labels) -> Mapping[str, str]:
    return {name: value for name, value in labels.items() if name != "__name__"}
