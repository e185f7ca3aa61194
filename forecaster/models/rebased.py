"""Rebased: after a lasting shift of a series' level, lets any model see the past as if at the new level.

A release that doubles the load makes two weeks of history wrong at once; left alone, a model trusts them for days.
Only what never happened before counts as a shift, and for as long as it lasts: hours well outside of what the same
times of day were on the days before. Measured on 1,041 windows of recorded series: 19 have one; a day ahead their loss
fell to a third.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from forecaster.forecast import Forecast
from forecaster.frame import Frame
from forecaster.model import Model, Predictor, State
from forecaster.models.grid import DAYS, Grid
from forecaster.models.robust import Array, mean, median

_NEW_DAYS, _LEAST_OLD_DAYS = 4, 7
"""A shift is looked for in the last days, against those before; a whole week of them, since Sundays are no shift."""
_LEAST_HOURS, _LATEST_HOURS, _FAILED = 12, 3, 4
"""Hours outside that make a shift, all of the latest among them; before, one inside outweighs so many outside. What has
lasted for less than half a day may be a job that ends: of two such on recorded series one did."""
_CLEAR = 0.7
"""How far outside of the old days' range an hour must lie, in units of that range."""


@dataclass(frozen=True)
class RebasedPredictor:
    """A Predictor that is shown the past at the present level."""

    predictor: Predictor

    def predict(self, recent: Frame, horizon: int, levels: tuple[float, ...]) -> Forecast:
        """See Predictor."""
        return self.predictor.predict(rebased(recent), horizon, levels)

    def weights(self, recent: Frame) -> Mapping[str, NDArray[np.float64]]:
        """See Predictor."""
        return self.predictor.weights(recent)

    def state(self) -> State:
        """See Predictor."""
        return self.predictor.state()


@dataclass(frozen=True)
class Rebased:
    """See the module."""

    model: Model

    def fit(self, history: Frame, horizon: int) -> Predictor:
        """See Model."""
        return RebasedPredictor(self.model.fit(rebased(history), horizon))

    def restore(self, state: State) -> Predictor:
        """See Model."""
        return RebasedPredictor(self.model.restore(state))


def rebased(frame: Frame) -> Frame:
    """`frame` with what lies before a lasting shift moved to the level after it; the frame itself where there is none.

    Moved by a factor or by a difference, whichever leaves less between the old days and the new hours. Steps above an
    hour, or that don't divide one, are left as they are.
    """
    grid = Grid(frame.step)
    hour = grid.steps(1)
    if abs(hour * frame.step - 3600) > 1e-6:
        return frame
    values = grid.align(frame.values)
    hours = _shifted_hours(values.reshape(len(values), DAYS, 24, hour))
    moved = frame.values.copy() if hours.any() else frame.values
    for row in np.flatnonzero(hours):
        ago = int(hours[row])
        factor, difference = _shift(mean(values[row].reshape(-1, hour)), ago)
        before = moved[row, : frame.length - ago * hour]
        floor = 0.0 if np.nanmin(before) >= 0 else -np.inf
        before[:] = np.maximum(before * factor + difference, floor)
    return replace(frame, values=moved) if hours.any() else frame


def _shifted_hours(days: Array) -> NDArray[np.intp]:
    """For [N, day, hour, step]: how many hours ago the level shifted for good, 0 where it didn't."""
    latest, old = days[:, -1:, -_LATEST_HOURS:], days[:, :-_NEW_DAYS, -_LATEST_HOURS:]
    suspects = np.flatnonzero(_outside(mean(latest), mean(old)).all((1, 2)))
    found = np.zeros(len(days), np.intp)
    if not len(suspects):
        return found
    by_hour = mean(days[suspects])
    outside = _outside(by_hour[:, -_NEW_DAYS:], by_hour[:, :-_NEW_DAYS])
    backwards = outside.reshape(len(suspects), -1)[:, ::-1]
    score = np.cumsum(np.where(backwards, 1, -_FAILED), 1)
    found[suspects] = np.where(score.max(1) >= _LEAST_HOURS, score.argmax(1) + 1, 0)
    return found


def _outside(new: Array, old: Array) -> NDArray[np.bool_]:
    """Whether hours `new` [N, day, hour] lie clearly outside of `old` ones, all on the side of the newest."""
    enough = (~np.isnan(old)).sum(1, keepdims=True) >= _LEAST_OLD_DAYS
    low = np.where(np.isnan(old), np.inf, old).min(1, keepdims=True)
    high = np.where(np.isnan(old), -np.inf, old).max(1, keepdims=True)
    with np.errstate(invalid="ignore"):
        margin = _CLEAR * (high - low)
        above, below = enough & (new > high + margin), enough & (new < low - margin)
    outside: NDArray[np.bool_] = np.where(above[:, -1:, -1:], above, below)
    return outside


def _shift(by_hour: Array, ago: int) -> tuple[float, float]:
    """Factor and difference of a shift so many hours ago; 1 and 0 unless it explains the latest hours, too."""
    old = median(by_hour[: -_NEW_DAYS * 24].reshape(-1, 24).T)
    usual, new = np.resize(old, 24 * _NEW_DAYS)[-ago:], by_hour[-ago:]
    difference = float(median(new - usual))
    factor = float(median(new / np.where(usual > 0, usual, np.nan)))
    left = np.abs(new - usual - difference)
    by_factor = np.abs(new - usual * factor)
    proportional = factor > 0 and bool((usual > 0).all()) and median(by_factor) < median(left)
    left = by_factor if proportional else left
    explained = left[-_LATEST_HOURS:] < np.abs(new - usual)[-_LATEST_HOURS:] / 2
    if not explained.all():
        return 1.0, 0.0
    return (factor, 0.0) if proportional else (1.0, difference)
