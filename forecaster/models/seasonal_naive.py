"""Seasonal naive: tomorrow is as today. The floor that every other model must beat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecaster.forecast import Forecast
from forecaster.frame import Frame
from forecaster.model import QUANTILE_GRID, Predictor, State
from forecaster.models.answer import alone, answer, check_step
from forecaster.models.grid import DAYS, Grid
from forecaster.models.robust import Array, first_known, median, quantiles

_REACH_HOURS, _FEWEST_CHANGES = 1, 10
_AT_ONCE = 100
_CENTRES, _SAMPLES = 48, 25
"""Times of day at which the band is measured, and columns around each: as many as a step of 5 min has."""


@dataclass(frozen=True)
class SeasonalNaivePredictor:
    """Knows nothing but the step: all it says is read from the recent history."""

    step: float

    def predict(self, recent: Frame, horizon: int, levels: tuple[float, ...]) -> Forecast:
        """See Predictor."""
        check_step(self.step, recent)
        grid = Grid(self.step)
        at = np.arange(horizon) % grid.day
        values = np.empty((len(recent.labels), horizon, len(QUANTILE_GRID)))
        for first in range(0, len(values), _AT_ONCE):
            rows = slice(first, first + _AT_ONCE)
            days = grid.align(recent.values[rows]).reshape(-1, DAYS, grid.day)
            values[rows] = _latest(days)[:, at, None] + _spread(days, grid)[:, at]
        return answer(recent, values, levels)

    def weights(self, recent: Frame) -> Mapping[str, NDArray[np.float64]]:
        """See Predictor."""
        return alone("seasonal_naive", recent)

    def state(self) -> State:
        """See Predictor."""
        return State(facts={"step": self.step})


class SeasonalNaive:
    """y(t - 1 day), or the last day that has that time of day; band from the changes from day to day."""

    def fit(self, history: Frame, horizon: int) -> Predictor:
        """See Model."""
        return SeasonalNaivePredictor(history.step)

    def restore(self, state: State) -> Predictor:
        """See Model."""
        return SeasonalNaivePredictor(float(state.facts["step"]))


def _latest(days: NDArray[np.float64]) -> Array:
    """[N, time of day]: of the last day that has that time."""
    recent_first = [days[:, -back] for back in range(1, DAYS + 1)]
    return first_known(*recent_first, median(days.reshape(len(days), -1))[:, None])


def _spread(days: NDArray[np.float64], grid: Grid) -> NDArray[np.float64]:
    """[N, time of day, level]: quantiles of {r, -r} for the changes r from day to day within an hour of that time.

    By symmetry they are quantiles of |r|. Where fewer than 10 changes are known, those of the whole day count.
    """
    change = np.abs(np.diff(days, axis=1)).astype(np.float32)
    centres = np.unique(np.linspace(0, grid.day, _CENTRES, endpoint=False).astype(np.intp))
    reach = min(grid.steps(_REACH_HOURS), (grid.day - 1) // 2)
    around = np.unique(np.linspace(-reach, reach, _SAMPLES).round().astype(np.intp))
    near = change[:, :, (centres[:, None] + around) % grid.day]
    near = near.transpose(0, 2, 1, 3).reshape(len(days), len(centres), -1)
    levels = np.abs(2 * QUANTILE_GRID - 1)
    every = quantiles(change.reshape(len(days), -1), levels)[:, None]
    enough = (~np.isnan(near)).sum(-1, keepdims=True) >= _FEWEST_CHANGES
    found = np.nan_to_num(np.where(enough, quantiles(near, levels), every)) * np.sign(QUANTILE_GRID - 0.5)
    nearest = np.abs((np.arange(grid.day)[:, None] - centres + grid.day / 2) % grid.day - grid.day / 2).argmin(1)
    spread: NDArray[np.float64] = found[:, nearest].astype(np.float64)
    return spread
