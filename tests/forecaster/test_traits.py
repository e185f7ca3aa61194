from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from forecaster import traits
from forecaster.backtest import Window
from forecaster.forecast import Forecast
from forecaster.frame import Frame

HOUR, DAY = 3600.0, 24
RNG = np.random.default_rng(7)
NOISE = RNG.normal(0, 1, 28 * DAY)
TIME = np.arange(28 * DAY)


def frame(*rows: NDArray[np.float64], step: float = HOUR) -> Frame:
    return Frame(0.0, step, tuple({"row": str(i)} for i in range(len(rows))), np.stack(rows))


def test_the_share_of_variance_that_the_time_of_day_explains() -> None:
    """A sine of amplitude sqrt(2) s has variance s²: with noise of variance 1 the share is s² / (s² + 1)."""
    wave = np.sin(2 * np.pi * TIME / DAY) * np.sqrt(2)
    daily = traits.describe(frame(3 * wave + NOISE, wave + NOISE, NOISE)).daily
    assert daily == pytest.approx([0.9, 0.5, 0.0], abs=0.05)


def test_a_weekend_is_a_shape_of_the_week_and_a_level_that_wanders_is_not() -> None:
    weekend = np.where(TIME // DAY % 7 >= 5, 5.0, 0.0) + NOISE
    weekly = traits.describe(frame(weekend, np.cumsum(NOISE))).weekly
    assert weekly[0] > 0.7
    assert weekly[1] == 0


def test_a_shape_seen_once_is_unknown() -> None:
    short = traits.describe(frame(np.sin(2 * np.pi * TIME / DAY)[: DAY + 6]))
    assert np.isnan(short.daily[0])
    assert np.isnan(short.weekly[0])


def test_span_and_gaps_count_from_the_first_observation_to_the_last() -> None:
    values = np.full(100, np.nan)
    values[[10, 11, 19]] = 1.0, 2.0, 3.0
    known = traits.describe(frame(values, np.full(100, np.nan)))
    assert known.span[0] == 10 * HOUR
    assert known.gaps[0] == pytest.approx(0.7)
    assert np.isnan([known.span[1], known.gaps[1]]).all()


def test_a_constant_is_one_in_spite_of_gaps() -> None:
    gappy = np.where(TIME % 3 == 0, np.nan, 5.0)
    assert traits.describe(frame(gappy, NOISE, np.full_like(NOISE, np.nan))).constant.tolist() == [True, False, False]


def test_values_that_change_at_every_fifth_step_only_are_noticed() -> None:
    held = np.repeat(NOISE, 5)[3 : 3 + len(NOISE)]
    known = traits.describe(frame(held, NOISE, np.where(NOISE > 0, 1.0, 0.0), step=60.0))
    assert known.changes_every.tolist() == [5, 1, 1]


def test_memory_is_the_correlation_with_the_step_before() -> None:
    memory = traits.describe(frame(NOISE, np.cumsum(NOISE), np.where(TIME % 2 == 0, 1.0, -1.0))).memory
    assert memory[0] == pytest.approx(0.0, abs=0.1)
    assert memory[1] > 0.95
    assert memory[2] == pytest.approx(-1.0, abs=0.01)


def test_a_shift_is_told_apart_from_the_time_of_day() -> None:
    """The window begins at noon and lasts half a day, so that its mean differs from the day's in any case."""
    wave = np.sin(2 * np.pi * TIME / DAY)
    origin = 20 * DAY + 12
    moved = wave + np.where(origin <= TIME, 1.8, 0.0)
    burst = wave + np.where((origin - 8 <= TIME) & (origin > TIME), 3.8, 0.0)
    known_before = wave + np.where(origin - DAY <= TIME, 1.8, 0.0)
    history = frame(wave, moved, burst, known_before)
    forecast = Forecast(origin * HOUR, HOUR, (0.5,), history.labels, np.zeros((4, 12, 1)))
    found = traits.shifts(history, 14 * DAY, Window(origin, forecast, history.values[:, origin : origin + 12]))
    # The 10-90 % range of a sine is 2 sin(0.4 pi) = 1.90; the burst and what came before widen theirs a little.
    assert found[:2] == pytest.approx([0.0, 1.8 / 1.9], abs=0.05)
    assert found[2:] == pytest.approx([-2.0, 0.0], abs=0.15)
