"""Replay: forecasts as a service would have made them, with nothing of what came later."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import pytest

from forecaster.forecast import Forecast
from forecaster.frame import Frame
from forecaster.localtime import Calendar
from forecaster.models import fit
from forecaster.replay import Replayed, Rhythm, replay

RHYTHM = Rhythm(every=1, train_every=4, history=6, warm_up=5)


def frame(values: list[float]) -> Frame:
    return Frame(600.0, 60.0, ({"app": "a"},), np.array([values]))


@dataclass
class Trainer:
    """Remembers what it was shown; its predictors say the last value and how many columns they saw."""

    trained: list[int]

    def __call__(self, past: Frame, steps: int) -> Trainer:
        self.trained.append(past.length)
        return self

    def predict(self, recent: Frame, horizon: int, levels: tuple[float, ...]) -> Forecast:
        values = np.full((1, horizon, len(levels)), recent.values[0, -1])
        values[0, :, 0] = recent.length
        return Forecast(recent.end + recent.step, recent.step, levels, recent.labels, values)

    weights = state = None  # type: ignore[assignment]


def test_each_forecast_knows_what_lies_before_it_and_at_most_the_history() -> None:
    trainer = Trainer([])
    found = replay(frame([float(i) for i in range(10)]), trainer, [1, 3], [0.1, 0.5], RHYTHM)  # type: ignore[arg-type]
    assert found.times.tolist() == [600 + 60 * i for i in range(4, 10)]
    assert found.values[:, 0, 1].tolist() == [4, 5, 6, 7, 8, 9]
    assert found.values[:, 1, 0].tolist() == [5, 6, 6, 6, 6, 6]
    assert trainer.trained == [5, 6], "trained at the 5th column, and 4 later"
    assert (found.horizons, found.levels) == ((1, 3), (0.1, 0.5))


def test_where_the_newest_value_is_missing_nothing_is_said() -> None:
    found = replay(frame([1, 2, 3, 4, 5, np.nan, 7]), Trainer([]), [1], [0.5], RHYTHM)  # type: ignore[arg-type]
    assert np.isnan(found.values[:, 0, 0]).tolist() == [False, True, False]


def test_what_comes_later_changes_no_forecast_of_the_real_models() -> None:
    rng = np.random.default_rng(0)
    load = 100 + 30 * np.sin(np.arange(400) / 30) + rng.normal(0, 4, 400)
    train = functools.partial(fit, ("ar", "profile"), Calendar())
    rhythm = Rhythm(every=20, train_every=100, history=288, warm_up=200)

    def replayed(values: list[float]) -> Replayed:
        return replay(frame(values), train, [1, 5], [0.5, 0.9], rhythm)

    before = replayed(load.tolist())
    load[300:] *= 7
    after = replayed(load.tolist())
    known = before.times < 600 + 60 * 300
    assert known.sum() == 6
    np.testing.assert_array_equal(before.values[known], after.values[known])
    assert not np.array_equal(before.values[~known], after.values[~known])


def test_a_replay_is_of_one_series() -> None:
    two = Frame(0.0, 60.0, ({"app": "a"}, {"app": "b"}), np.ones((2, 9)))
    with pytest.raises(ValueError, match="one series, not of 2"):
        replay(two, Trainer([]), [1], [0.5], RHYTHM)  # type: ignore[arg-type]
