from __future__ import annotations

import numpy as np
import pytest

from forecaster import backtest
from forecaster.backtest import Backtest, Window
from forecaster.forecast import Forecast
from forecaster.frame import Frame
from forecaster.models.seasonal_naive import SeasonalNaive


def window(actual: list[float], low: float, middle: float, high: float) -> Window:
    values = np.tile([low, middle, high], (1, len(actual), 1))
    return Window(0, Forecast(0.0, 60.0, (0.1, 0.5, 0.9), ({},), values), np.array([actual]))


def test_errors_are_of_the_median_and_gaps_count_for_nothing() -> None:
    scores = Backtest((window([1, np.nan, 4], 0, 2, 3),)).scores(0, 3)
    assert scores.absolute_error[0] == pytest.approx((1 + 2) / 2)
    assert scores.coverage[0] == pytest.approx(0.5)


def test_pinball_loss_is_dearer_on_the_side_that_a_level_should_not_miss() -> None:
    above = Backtest((window([10.0], 0, 0, 0),)).scores(0, 1).pinball[0]
    below = Backtest((window([-10.0], 0, 0, 0),)).scores(0, 1).pinball[0]
    assert above == pytest.approx((0.1 + 0.5 + 0.9) * 10 / 3)
    assert below == pytest.approx((0.9 + 0.5 + 0.1) * 10 / 3)


def test_only_the_asked_leads_count() -> None:
    one = Backtest((window([2, 2, 100], 0, 2, 3),))
    assert one.scores(0, 2).absolute_error[0] == 0
    assert one.scores(2, 3).absolute_error[0] == 98


def test_a_series_without_anything_to_compare_is_nan_and_in_no_window() -> None:
    scores = Backtest((window([np.nan], 0, 1, 2),)).scores(0, 1)
    assert np.isnan([scores.absolute_error[0], scores.pinball[0], scores.coverage[0]]).all()


def test_two_perfect_forecasts_are_equally_good_and_an_imperfect_one_is_infinitely_worse() -> None:
    ratio = backtest.relative(np.array([0.0, 1.0, 1.0, np.nan]), np.array([0.0, 0.0, 2.0, 1.0]))
    np.testing.assert_array_equal(ratio, [1.0, np.inf, 0.5, np.nan])


def test_each_origin_sees_what_lies_before_it_and_the_end_of_the_frame_is_a_gap() -> None:
    step, day = 3600.0, 24
    values = np.tile(np.arange(24.0), 5)[None] + np.repeat(np.arange(5.0), 24) * 100
    history = Frame(0.0, step, ({"a": "b"},), values)
    origins = backtest.origins(history.length, 3 * day, 12)
    assert origins == (72, 84, 96, 108)
    result = backtest.run(SeasonalNaive().fit(history.between(0, 72), day), history, origins, day, (0.5,))
    assert [one.forecast.start for one in result.windows] == [origin * step for origin in origins]
    first = result.windows[0]
    np.testing.assert_allclose(first.forecast.values[0, :, 0], 200 + np.arange(24))
    np.testing.assert_allclose(first.absolute_error()[0], 100)
    assert np.isnan(result.windows[-1].actual[0, 12:]).all()


def test_training_anew_at_each_origin_forecasts_from_the_same_origins() -> None:
    history = Frame(0.0, 3600.0, ({},), np.sin(np.arange(120.0))[None])
    once = backtest.run(SeasonalNaive().fit(history, 6), history, [72, 96], 6, (0.1, 0.5))
    anew = backtest.refitted(SeasonalNaive(), history, [72, 96], 6, (0.1, 0.5))
    for a, b in zip(once.windows, anew.windows, strict=True):
        np.testing.assert_array_equal(a.forecast.values, b.forecast.values)
        np.testing.assert_array_equal(a.actual, b.actual)
