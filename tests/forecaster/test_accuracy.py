"""The figures of forecasts that are scored as their time comes."""

from __future__ import annotations

import numpy as np
import pytest

from cloudpulse.durations import Duration
from forecaster.accuracy import ENOUGH, Accuracy, Due, Scores, last_known, naive
from forecaster.config import Target
from forecaster.forecast import Forecast
from forecaster.frame import Frame
from forecaster.model import label_key
from forecaster.truth import Truth

DAY = 24
TARGET = Target(
    name="x",
    query="x",
    step=Duration(3600),
    every=Duration(3600),
    history=Duration(3 * 86400),
    horizons=(Duration(3600), Duration(7200)),
    levels=(0.1, 0.5, 0.9),
)
LABELS = ({"app": "a"},)
KEYS = [label_key(LABELS[0])]


def score(actual: np.ndarray, low: np.ndarray, median: np.ndarray, high: np.ndarray) -> Scores:
    """The figures after seeing `actual` hour by hour, with forecasts that say what the others hold for each hour."""
    truth = Truth(TARGET)
    for now in range(2 * DAY, len(actual) - 3):
        truth.observed(Frame(0.0, 3600.0, LABELS, actual[None, : now + 1].copy()), KEYS, now * 3600.0)
        ahead = slice(now + 1, now + 4)
        values = np.stack([low[ahead], median[ahead], high[ahead]], axis=1)[None]
        said = Forecast((now + 1) * 3600.0, 3600.0, TARGET.all_levels, LABELS, values)
        truth.predicted(said, said, {}, KEYS)
    return truth.scores(KEYS)


def noise(length: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=length)


def test_mase_is_the_error_over_that_of_seasonal_naive() -> None:
    actual = 10 + noise(200)
    scores = score(actual, actual - 1, actual + 0.5, actual + 1)
    naive = np.abs(actual[2 * DAY + 2 : -3] - actual[DAY + 2 : -DAY - 3]).mean()
    np.testing.assert_allclose(scores.mase[0], 0.5 / naive, rtol=0.15)
    np.testing.assert_allclose(scores.bias[0], 0.5 / naive, rtol=0.15)


def test_coverage_is_the_share_at_or_under_each_level() -> None:
    actual = 10 + noise(600)
    flat = np.full(600, 10.0)
    scores = score(actual, flat - 1.2816, flat, flat + 1.2816)
    np.testing.assert_allclose(scores.coverage[0, 0], [0.1, 0.5, 0.9], atol=0.06)


def test_a_value_reached_exactly_counts_as_reached_at_any_magnitude() -> None:
    """Predictions wait as float32, in which most numbers aren't what they were."""
    actual = np.full(100, 1_234_567_890.123)
    np.testing.assert_array_equal(score(actual, actual, actual, actual).coverage[0], 1.0)


@pytest.mark.parametrize("offset", [1.7e9, 1e12])
def test_figures_are_the_same_far_from_zero(offset: float) -> None:
    """Such as Unix times, which float32 tells two minutes apart."""
    actual = 10 + noise(200)
    near = score(actual, actual - 1, actual + 0.5, actual + 1)
    far = score(*(offset + values for values in (actual, actual - 1, actual + 0.5, actual + 1)))
    np.testing.assert_allclose(far.mase, near.mase, rtol=1e-3)
    np.testing.assert_allclose(far.bias, near.bias, rtol=1e-3)
    np.testing.assert_array_equal(far.coverage, near.coverage)


def test_the_first_day_is_scored_against_the_value_before_the_prediction() -> None:
    """What is known begins within a frame that is as long as the history, and so does a series after a gap."""
    actual = 10 + noise(2 * DAY + 3 + 10)
    actual[: 2 * DAY - 2] = np.nan
    scores = score(actual, actual - 1, actual + 0.5, actual + 1)
    assert scores.mase[0, 0] == pytest.approx(0.5 / np.abs(np.diff(actual[2 * DAY : -3])).mean(), rel=0.05)
    assert not np.isnan(scores.coverage).any()


def test_seasonal_naive_knows_the_day_before_and_the_last_value_is_found_row_by_row() -> None:
    values = np.tile(np.arange(40.0), (3, 1))
    values[1, :17] = np.nan  # a day before column 39 is column 15
    values[1, 36:] = np.nan
    values[2] = np.nan
    frame = Frame(0.0, 3600.0, ({}, {}, {}), values)
    rows = np.array([0, 1, 2])
    np.testing.assert_array_equal(naive(frame, 39, 2 * 3600.0, rows), [15, np.nan, np.nan])
    np.testing.assert_array_equal(naive(frame, 10, 3600.0, rows), [np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(last_known(frame, 37, rows), [37, 35, np.nan])


def test_coverage_is_scored_without_anything_to_compare_with() -> None:
    accuracy = Accuracy((1.0,), (0.5,))
    accuracy.resize(1)
    one = np.ones((1, 1), np.float32)
    for _ in range(ENOUGH + 1):
        accuracy.add(Due(0, np.array([0]), one, one, one, one[0], one[0] * np.nan))
    scores = accuracy.scores(np.array([0]), 1)
    assert scores.coverage.tolist() == [[[1.0]]]
    assert np.isnan(scores.mase).all()


def test_a_gap_is_no_score() -> None:
    length = 2 * DAY + 3 + 3 * ENOUGH
    actual = 10 + noise(length)
    holes = actual.copy()
    holes[2 * DAY + 2 :: 2] = np.nan
    assert not np.isnan(score(actual, actual, actual, actual).mase).any()
    holes[2 * DAY + 2 : -2 * ENOUGH] = np.nan
    scores = score(holes, actual, actual + 1, actual)
    assert np.isnan(scores.mase[0, 0]), "too little is left to score"


def test_too_few_scores_are_no_figure() -> None:
    actual = 10 + noise(2 * DAY + 3 + ENOUGH)
    assert np.isnan(score(actual, actual, actual, actual).mase).all()


def test_a_series_never_scored_has_no_figure() -> None:
    scores = Truth(TARGET).scores(["unknown", "other"])
    assert scores.mase.shape == (2, 2)
    assert np.isnan(scores.mase).all()
    assert np.isnan(scores.coverage).all()
