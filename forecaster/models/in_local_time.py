"""InLocalTime: lets any model work by the clock on the wall, so that none needs to know of time zones.

Models see a Frame as if local time were UTC: hours of the day and days of the week are those of the place, and a
change of the clocks moves the past by whole steps against the present. Where no change lies in the history or the
horizon, that is another `start` and nothing else.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from forecaster.forecast import Forecast
from forecaster.frame import Frame
from forecaster.localtime import Calendar
from forecaster.model import Model, Predictor, State


@dataclass(frozen=True)
class LocalPredictor:
    """A Predictor that was trained on local time."""

    predictor: Predictor
    calendar: Calendar

    def predict(self, recent: Frame, horizon: int, levels: tuple[float, ...]) -> Forecast:
        """See Predictor."""
        at = leads(recent, horizon, self.calendar)
        local = self.predictor.predict(on_the_wall(recent, self.calendar), int(at.max()) + 1, levels)
        parts = {name: said[:, at] for name, said in local.parts.items()}
        return replace(local, start=recent.end + recent.step, values=local.values[:, at], parts=parts)

    def weights(self, recent: Frame) -> Mapping[str, NDArray[np.float64]]:
        """See Predictor."""
        return self.predictor.weights(recent)

    def state(self) -> State:
        """See Predictor. The time zone is the config's, not a part of it."""
        return self.predictor.state()


@dataclass(frozen=True)
class InLocalTime:
    """See the module."""

    model: Model
    calendar: Calendar

    def fit(self, history: Frame, horizon: int) -> Predictor:
        """See Model."""
        return LocalPredictor(self.model.fit(on_the_wall(history, self.calendar), horizon), self.calendar)

    def restore(self, state: State) -> Predictor:
        """See Model."""
        return LocalPredictor(self.model.restore(state), self.calendar)


def on_the_wall(frame: Frame, calendar: Calendar) -> Frame:
    """`frame` by local time as if that were UTC, ending at the same moment.

    An hour that the clocks skipped is a gap. Of one that they show twice the second reading is kept, or the first
    where that is missing; a reading whose second is yet to come is left out. Steps that don't divide the change are
    moved by the nearest number of them.
    """
    if not frame.length:
        return frame
    offsets = calendar.offsets(frame.start, frame.step, frame.length)
    moved = _steps(offsets - offsets[-1], frame.step)
    before = int((np.arange(frame.length) + moved).min())  # negative where the wall shows more columns than there are
    length = frame.length - before
    start = frame.end + offsets[-1] - (length - 1) * frame.step
    if not moved.any():
        return replace(frame, start=start)
    values = np.full((len(frame.values), length), np.nan)
    edges = [0, *(np.flatnonzero(np.diff(moved)) + 1).tolist(), frame.length]
    for first, last in itertools.pairwise(edges):
        at = first + int(moved[first]) - before
        place = values[:, at : at + last - first]  # cut where the wall's clock has yet to come there again
        piece = frame.values[:, first : first + place.shape[1]]
        np.copyto(place, piece, where=~np.isnan(piece))
    return replace(frame, start=start, values=values)


def leads(frame: Frame, horizon: int, calendar: Calendar) -> NDArray[np.intp]:
    """Which step ahead on the wall each of the `horizon` steps after `frame` is.

    An hour to come twice is forecast twice alike. In the one hour of the year whose clock has passed the lead's
    already, that is the first step ahead.
    """
    offsets = calendar.offsets(frame.end, frame.step, horizon + 1)
    moved = _steps(offsets - offsets[0], frame.step)[1:]
    ahead: NDArray[np.intp] = np.maximum(np.arange(horizon) + moved, 0)
    return ahead


def _steps(seconds: NDArray[np.float64], step: float) -> NDArray[np.intp]:
    return np.rint(seconds / step).astype(np.intp)
