"""The recent past, from which autoregression starts: last values, usual changes, unrest; at any column of a history."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecaster.models.grid import DAYS, Grid
from forecaster.models.robust import Array, smooth

_BACK = (1, 2, 3, 5)
_WINDOWS = (3, 5, 10, 15, 30, 60)
"""Steps back, and lengths of means up to now in steps, that a forecast starts from."""
_CALM, _WILD = 5, 60
"""Steps whose changes tell how restless a series is."""
_SMOOTH = 2


@dataclass(frozen=True)
class Past:
    """Series [N, time] in units of their scale, prepared so that a forecast can start at every column."""

    day: int  # steps; 0 where no step has its time of day
    filled: Array  # gaps hold the last known value
    usual: Array  # at the same time of day on the other days; NaN: unknown
    tomorrow: Array  # [N, day]: on all days
    smoothed: Array  # NaN: unknown
    level: Array  # distance from 0, in the same units

    def now(self, at: NDArray[np.intp]) -> Array:
        """[N, at, feature]: where the series comes from, less its value at columns `at`."""
        here = self.filled[:, at]
        found = [self.filled[:, np.maximum(at - back, 0)] - here for back in _BACK]
        found += [_trailing(self.filled, at, window) - here for window in _WINDOWS]
        found += [np.nan_to_num(self.usual[:, at] - here), np.full_like(here, 0.1)]
        return np.stack(found, -1)

    def changes(self, at: NDArray[np.intp], lead: int) -> Array:
        """[N, at, feature]: what usually comes between columns `at` and `lead` steps later."""
        if not self.day:
            return np.zeros((len(self.filled), len(at), 3), np.float32)
        then = at + lead
        inside = then < self.usual.shape[1]
        usual = np.where(inside, self.usual[:, np.where(inside, then, 0)], self.tomorrow[:, then % self.day])
        found = [usual - self.usual[:, at]]
        for days in (1, 7):
            back = -(-(lead + _SMOOTH) // (days * self.day)) * days * self.day
            known = at >= back
            earlier, then = np.where(known, at - back, 0), np.where(known, at - back + lead, 0)
            change = self.smoothed[:, then] - self.smoothed[:, earlier]
            found.append(np.where(known, change, np.nan))
        return np.nan_to_num(np.stack(found, -1))

    def unrest(self, at: NDArray[np.intp]) -> Array:
        """[N, at, feature]: logarithms of what tells how far a series will stray."""
        change = np.abs(np.diff(self.filled, axis=1, prepend=self.filled[:, :1]))
        least = 0.05 * change.mean(1, keepdims=True) + 1e-6
        found = [np.log(_trailing(change, at, window) + least) for window in (_CALM, _WILD)]
        least = 0.02 * self.level.mean(1, keepdims=True) + 1e-6
        found.append(np.log(_trailing(self.level, at, _CALM) + least))
        return np.stack([*found, np.ones_like(found[0])], -1)


def past_of(values: Array, level: Array, grid: Grid) -> Past:
    """`values` [N, grid.length], and how far from 0 they are, in the same units; NaN in both where nothing was seen."""
    rows = len(values)
    filled = _filled(values)
    unknown = np.full((rows, 0), np.nan, np.float32)
    if not grid.daily:
        return Past(0, filled, np.full_like(filled, np.nan), unknown, filled, _filled(level).astype(np.float32))
    smoothed = smooth(values, _SMOOTH)
    days = smoothed.reshape(rows, DAYS, grid.day)
    seen = ~np.isnan(days)
    total, count = np.where(seen, days, 0).sum(1), seen.sum(1)
    others = count[:, None] - seen
    usual = np.where(others > 0, (total[:, None] - np.where(seen, days, 0)) / np.maximum(others, 1), np.nan)
    tomorrow = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return Past(
        grid.day,
        filled,
        usual.reshape(rows, -1).astype(np.float32),
        tomorrow.astype(np.float32),
        smoothed,
        _filled(level).astype(np.float32),
    )


def _filled(values: Array) -> Array:
    """Gaps hold the last known value, those at the start the first; a row without any holds 0."""
    seen = ~np.isnan(values)
    place = np.where(seen, np.arange(values.shape[1]), -1)
    np.maximum.accumulate(place, 1, out=place)
    place = np.where(place < 0, seen.argmax(1)[:, None], place)
    return np.nan_to_num(np.take_along_axis(values, place, 1))


def _trailing(values: Array, at: NDArray[np.intp], window: int) -> Array:
    """Mean of the `window` columns up to and including each of `at`, of fewer at the start."""
    first = max(int(at.min()) + 1 - window, 0)
    part = values[:, first : int(at.max()) + 1]
    sums = np.zeros((len(part), part.shape[1] + 1))
    np.cumsum(part, axis=1, out=sums[:, 1:])
    end, start = at + 1, np.maximum(at + 1 - window, 0)
    found: Array = ((sums[:, end - first] - sums[:, start - first]) / (end - start)).astype(np.float32)
    return found
