"""Calibration: quantiles corrected by what came, so that the measured coverage of each level tends to its nominal one.

Adaptive conformal inference (Gibbs & Candès 2021) in its quantile-tracking form (Angelopoulos, Candès & Tibshirani
2023, "Conformal PID control"): after each score the correction of a level goes up by `step * level` where the actual
value was above the corrected quantile and down by `step * (1 - level)` where it was not. What is tracked is the raw
forecast, scored with the correction of now: the hours between a prediction and its score can't make the loop swing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forecaster.accuracy import Due
from forecaster.model import State
from forecaster.models.robust import normal_scores
from forecaster.rows import padded

STEP = 0.04
"""Step of a series' own correction, in standard deviations of the forecast, per score that tells something new."""
COMMON_STEP = 0.05
"""Step of the correction that all series of the target share: their mean is steadier, so it may move faster."""
HALF_COMMON = 10
"""Series in a score at which the common step has half its size: few say no more together than each alone."""
OVERLAP = 2.0
"""Predictions up to a lead this far beyond their distance apart count as news each; further ones repeat one another."""
MOST, MOST_STRETCH = 1.0, 1.5
"""No correction goes beyond this many standard deviations, or this many times the level's own distance from the median.

So a forecast that is one off, or two and a half times too narrow, can be mended; what is worse is left to demotion, and
a series that is quiet for days and then bursts doesn't get its bursts stretched without end.
"""
_AT_ONCE = 50
"""Series corrected together: few enough for the processor's cache."""


class Calibration:
    """Corrections by series (rows), lead and level, and common ones by lead and level.

    They live on the axis of the forecast's own quantiles, in its standard deviations: free of units, nothing for a
    forecast that is a single value, and 0 while nothing has been scored.
    """

    def __init__(self, leads: list[float], apart: list[float], levels: tuple[float, ...]) -> None:
        """`leads` in seconds, each with the seconds between two of its predictions; `levels` rise."""
        self._leads = np.log(leads)
        self._levels, self._z = np.array(levels), normal_scores(levels)
        self._most = np.maximum(MOST, MOST_STRETCH * np.abs(self._z))
        news = np.minimum(1.0, OVERLAP * np.array(apart) / np.array(leads))
        self._step, self._common_step = STEP * news, COMMON_STEP * np.sqrt(news)
        self._own = np.zeros((0, len(leads), len(levels)), np.float32)
        self._common = np.zeros((len(leads), len(levels)))

    def resize(self, rows: int) -> None:
        """Make room for new rows, which begin with the common correction."""
        self._own = padded(self._own, rows, 0.0)

    def keep(self, rows: NDArray[np.intp]) -> None:
        """Keep these rows only."""
        self._own = self._own[rows]

    def add(self, due: Due) -> None:
        """Learn from what has come."""
        h = due.horizon
        raw, shift = due.raw.T.astype(np.float64), self._shift(due.rows)[:, h].T
        below, above = self._units(raw)
        pull = (due.actual > _in_order(raw + _move(shift, below, above))) - (1 - self._levels)[:, None]
        # Where the quantiles have no width a correction can't help, so it doesn't grow either.
        idle = ((pull > 0) & (above <= 0) & (shift >= 0)) | ((pull < 0) & (below <= 0) & (shift <= 0))
        pull = np.where(idle, 0.0, pull).T
        if len(pull):
            move = self._common_step[h] * pull.sum(0) / (len(pull) + HALF_COMMON)
            self._common[h] = np.clip(self._common[h] + move, -self._most, self._most)
        own = self._own[due.rows, h] + self._step[h] * pull
        self._own[due.rows, h] = np.clip(own, -self._most - self._common[h], self._most - self._common[h])

    def apply(
        self, rows: NDArray[np.intp], values: NDArray[np.float64], levels: tuple[float, ...], step: float
    ) -> NDArray[np.float64]:
        """Corrected quantiles of `values` [series, lead, levels], for leads `step` seconds apart.

        Between the leads that are scored the correction is interpolated over the logarithm of time, beyond them it
        stays. `levels` may hold more than those that are scored. NaN stays NaN, quantiles don't cross.
        """
        shift = self._shift(rows)
        if not shift.any():
            return values
        times = np.log(step * (np.arange(values.shape[1]) + 1.0))
        order = np.argsort(self._leads)
        by_lead = np.stack([np.interp(times, self._leads[order], row) for row in np.eye(len(order))])
        shift = np.ascontiguousarray(shift[:, order].transpose(2, 0, 1))
        scored = [levels.index(level) for level in self._levels.tolist()]
        by_level = np.stack([np.interp(normal_scores(levels), self._z, row) for row in np.eye(len(self._z))], 1)
        corrected = np.empty_like(values)
        for first in range(0, len(values), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            raw = np.ascontiguousarray(np.moveaxis(values[part], -1, 0))
            move = _move(shift[:, part] @ by_lead, *self._units(raw[scored]))
            if len(levels) > len(scored):
                move = np.tensordot(by_level, move, 1)
            corrected[part] = np.moveaxis(_in_order(raw + move), 0, -1)
        return corrected

    def state(self) -> State:
        """The corrections, to be kept across a restart."""
        return State({"own": self._own, "common": self._common})

    def restore(self, state: State) -> None:
        """Take up what `state` gave."""
        self._own, self._common = np.array(state.arrays["own"]), np.array(state.arrays["common"])

    def _shift(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """[n, leads, levels]; a row of -1 has the common one."""
        own = np.where((rows >= 0)[:, None, None], self._own[rows], 0.0) if len(self._own) else 0.0
        shift: NDArray[np.float64] = np.broadcast_to(self._common + own, (len(rows), *self._common.shape))
        return shift

    def _units(self, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What one standard deviation is worth below and above each quantile of `values` [level, ...].

        Measured up to the outermost level on that side, and for the outermost from the middle one. One level alone has
        no width: 0.
        """
        last, middle = len(values) - 1, len(values) // 2
        below, above = np.zeros_like(values), np.zeros_like(values)
        for k in range(len(values) if last else 0):
            low, high = (k, 0) if k else (middle or 1, 0), (k, last) if k < last else (min(middle, last - 1), last)
            below[k] = (values[low[0]] - values[low[1]]) / (self._z[low[0]] - self._z[low[1]])
            above[k] = (values[high[1]] - values[high[0]]) / (self._z[high[1]] - self._z[high[0]])
        return below, above


def _move(shift: NDArray[np.float64], below: NDArray[np.float64], above: NDArray[np.float64]) -> NDArray[np.float64]:
    """From standard deviations to the series' own units."""
    return np.where(shift > 0, above, below) * shift


def _in_order(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """`values` [level, ...], changed so that they rise from the middle one outwards."""
    middle = len(values) // 2
    for k in range(middle + 1, len(values)):
        np.maximum(values[k], values[k - 1], out=values[k])
    for k in range(middle - 1, -1, -1):
        np.minimum(values[k], values[k + 1], out=values[k])
    return values
