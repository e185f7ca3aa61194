"""Frame: many series on one regular grid. A gap is NaN and stays NaN."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cloudpulse.promql import Labels, Series

TOGETHER = 100
"""Series that the one-off commands train together at most: enough to learn from one another."""


@dataclass(frozen=True)
class Frame:
    """`values[i, j]` is series i at Unix time `start + j * step`; float64, NaN where nothing is known."""

    start: float
    step: float
    labels: tuple[Labels, ...]
    values: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[0] != len(self.labels):
            raise ValueError(f"a Frame of {len(self.labels)} series can't hold values of shape {self.values.shape}")

    @property
    def length(self) -> int:
        """Number of columns."""
        return int(self.values.shape[1])

    @property
    def end(self) -> float:
        """Unix time of the last column."""
        return self.start + (self.length - 1) * self.step

    def tail(self, columns: int) -> Frame:
        """The last `columns` columns (fewer if there are not as many)."""
        return self.between(max(0, self.length - columns), self.length)

    def between(self, first: int, last: int) -> Frame:
        """Columns `first` up to, not including, `last`."""
        return replace(self, start=self.start + first * self.step, values=self.values[:, first:last])

    def parts(self, most: int) -> Iterator[Frame]:
        """The series in order, in parts of about equal size, at most `most` each."""
        count = -(-len(self.labels) // most)
        for rows in np.array_split(np.arange(len(self.labels)), max(count, 1)):
            yield self.select(rows)

    def select(self, rows: Sequence[int] | NDArray[np.intp]) -> Frame:
        """The series at `rows`, in that order."""
        return replace(self, labels=tuple(self.labels[i] for i in rows), values=self.values[np.asarray(rows, np.intp)])


def from_series(series: Sequence[Series], start: float, step: float, length: int) -> Frame:
    """Put samples on a grid: each on its nearest column (at most half a step away), the later one where two meet.

    Infinite values become NaN: no model can learn from them.
    """
    values = np.full((len(series), length), np.nan)
    sizes = np.array([one.times.size for one in series], np.intp)
    for rows in np.split(np.arange(len(series)), np.flatnonzero(np.diff(np.cumsum(sizes) // _AT_ONCE)) + 1):
        if rows.size:
            _place([series[row] for row in rows], values[rows[0] : rows[-1] + 1], start, step)
    return Frame(start, step, tuple(one.labels for one in series), values)


_AT_ONCE = 2**18
"""Samples placed at once: many short series cost no loop, and long ones no second copy of all."""


def _place(series: Sequence[Series], values: NDArray[np.float64], start: float, step: float) -> None:
    length = values.shape[1]
    sample = np.concatenate([one.values for one in series])
    column = np.rint((np.concatenate([one.times for one in series]) - start) / step)
    row = np.repeat(np.arange(len(series)), [one.times.size for one in series])
    inside = (column >= 0) & (column < length) & np.isfinite(sample)
    place, sample = row[inside] * length + column[inside].astype(np.intp), sample[inside]
    last = np.append(place[1:] != place[:-1], True)[: place.size]  # times rise: those that meet are neighbours
    values.ravel()[place[last]] = sample[last]
