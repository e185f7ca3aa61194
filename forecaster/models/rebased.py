"""Rebased: after a lasting shift of a series' level, lets any model see the past as if at the new level.

A release that doubles the load makes two weeks of history wrong at once; left alone, a model trusts them for days.
Only what never happened before counts as a shift, and for as long as it lasts: hours that all lie well outside of
what the same times of day were on the days before.
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
_LEAST_HOURS = 6
_CLEAR = 1.0
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
    rows = np.flatnonzero(hours)
    if not len(rows):
        return frame
    moved = frame.values.copy()
    for row in rows:
        by_hour = mean(values[row].reshape(-1, hour))
        before = frame.length - int(hours[row]) * hour
        moved[row, :before] = _moved(frame.values[row, :before], by_hour, int(hours[row]))
    return replace(frame, values=moved)


def _shifted_hours(days: Array) -> NDArray[np.intp]:
    """For [N, day, hour, step]: how many hours ago the level shifted for good, 0 where it didn't."""
    old = days[:, :-_NEW_DAYS]
    suspects = np.flatnonzero(_outside(mean(days[:, -1:, -_LEAST_HOURS:]), mean(old[:, :, -_LEAST_HOURS:])).all((1, 2)))
    found = np.zeros(len(days), np.intp)
    if not len(suspects):
        return found
    few = mean(days[suspects])
    outside = _outside(few[:, -_NEW_DAYS:], few[:, :-_NEW_DAYS])
    backwards = outside.reshape(len(few), -1)[:, ::-1]
    found[suspects] = np.where(backwards.all(1), backwards.shape[1], backwards.argmin(1))
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


def _moved(values: Array, by_hour: Array, hours: int) -> Array:
    """`values` before the shift at the level after it; `by_hour` ends with `hours` after the shift."""
    old = median(by_hour[: -_NEW_DAYS * 24].reshape(-1, 24).T)
    usual = np.resize(old, 24 * _NEW_DAYS)[-hours:]
    new = by_hour[-hours:]
    difference = float(median(new - usual))
    factor = float(median(new / np.where(usual > 0, usual, np.nan)))
    by_factor, by_difference = np.abs(new - usual * factor), np.abs(new - usual - difference)
    if factor > 0 and (usual > 0).all() and median(by_factor) < median(by_difference):
        return values * factor
    shifted = values + difference
    return np.maximum(shifted, 0) if np.nanmin(values) >= 0 else shifted
