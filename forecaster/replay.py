"""Replay: what the forecaster would have said at each moment of the past, from what was known then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from forecaster.backtest import Floats
from forecaster.frame import Frame
from forecaster.model import Predictor


@dataclass(frozen=True)
class Rhythm:
    """How often a forecaster works, and how far it looks back; all in steps."""

    every: int  # between forecasts
    train_every: int  # between trainings
    history: int  # seen by a training and by a forecast, at most
    warm_up: int  # before the first forecast


@dataclass(frozen=True)
class Replayed:
    """Forecasts of one series, each made from what was known at its time and nothing later."""

    times: Floats  # [n] Unix seconds, rising: the last column that was known
    horizons: tuple[int, ...]  # steps ahead
    levels: tuple[float, ...]
    values: Floats  # [n, horizon, level]; NaN where none could be made


def replay(
    frame: Frame,
    train: Callable[[Frame, int], Predictor],
    horizons: Sequence[int],
    levels: Sequence[float],
    rhythm: Rhythm,
    done: Callable[[int], None] = lambda _: None,
) -> Replayed:
    """Forecast the one series of `frame` again and again, trained anew in between, as a service would have.

    `train` learns from what it is given, to forecast so many steps. No forecast is made where the last column is a
    gap: a service has no new value then either. `done` is told the columns passed.
    """
    if len(frame.labels) != 1:
        raise ValueError(f"a replay is of one series, not of {len(frame.labels)}")
    steps, leads = max(horizons), np.array(horizons) - 1
    ends = range(rhythm.warm_up, frame.length + 1, rhythm.every)
    values = np.full((len(ends), len(leads), len(levels)), np.nan)
    predictor, trained = None, 0
    for i, end in enumerate(ends):
        past = frame.between(max(0, end - rhythm.history), end)
        if predictor is None or end - trained >= rhythm.train_every:
            predictor, trained = train(past, steps), end
        if not np.isnan(past.values[0, -1]):
            values[i] = predictor.predict(past, steps, tuple(levels)).values[0, leads]
        done(rhythm.every)
    times = frame.start + (np.array(ends, np.float64) - 1) * frame.step
    return Replayed(times, tuple(horizons), tuple(levels), values)
