from __future__ import annotations

import numpy as np

from cloudpulse.durations import Duration
from forecaster.accuracy import ENOUGH, Accuracy
from forecaster.config import Target
from forecaster.forecast import Forecast
from forecaster.frame import Frame
from forecaster.model import label_key

DAY = 24
TARGET = Target(
    name="x", query="x", step=Duration(3600), history=Duration(3 * 86400), horizons=(Duration(3600), Duration(7200))
)
LABELS = ({"app": "a"},)
KEYS = [label_key(LABELS[0])]


def score(actual: np.ndarray, low: np.ndarray, median: np.ndarray, high: np.ndarray) -> Accuracy:
    """An Accuracy after seeing `actual` hour by hour, with forecasts that say what the others hold for each hour."""
    accuracy = Accuracy(TARGET)
    for now in range(2 * DAY, len(actual) - 3):
        frame = Frame(0.0, 3600.0, LABELS, actual[None, : now + 1].copy())
        accuracy.observed(frame)
        ahead = slice(now + 1, now + 4)
        values = np.stack([low[ahead], median[ahead], high[ahead]], axis=1)[None]
        accuracy.predicted(Forecast((now + 1) * 3600.0, 3600.0, TARGET.all_levels, LABELS, values))
    return accuracy


def noise(length: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=length)


def test_mase_is_the_error_over_that_of_seasonal_naive() -> None:
    actual = 10 + noise(200)
    scores = score(actual, actual - 1, actual + 0.5, actual + 1).scores(KEYS)
    naive = np.abs(actual[2 * DAY + 2 : -3] - actual[DAY + 2 : -DAY - 3]).mean()
    np.testing.assert_allclose(scores.mase[0], 0.5 / naive, rtol=0.15)
    np.testing.assert_allclose(scores.bias[0], 0.5 / naive, rtol=0.15)


def test_coverage_is_the_share_at_or_under_each_level() -> None:
    actual = 10 + noise(600)
    flat = np.full(600, 10.0)
    scores = score(actual, flat - 1.2816, flat, flat + 1.2816).scores(KEYS)
    np.testing.assert_allclose(scores.coverage[0, 0], [0.1, 0.5, 0.9], atol=0.06)


def test_a_gap_is_no_score() -> None:
    actual = 10 + noise(200)
    holes = actual.copy()
    holes[60:100:2] = np.nan
    whole, part = score(actual, actual, actual, actual), score(holes, actual, actual, actual)
    assert part._sums[KEYS[0]][0, 0] < whole._sums[KEYS[0]][0, 0]
    assert part.scores(KEYS).mase[0, 0] == 0


def test_too_few_scores_are_no_figure() -> None:
    length = 2 * DAY + 3 + ENOUGH
    actual = 10 + noise(length)
    assert np.isnan(score(actual, actual, actual, actual).scores(KEYS).mase).all()


def test_a_series_never_scored_has_no_figure() -> None:
    scores = Accuracy(TARGET).scores(["unknown", "other"])
    assert scores.mase.shape == (2, 2)
    assert np.isnan(scores.mase).all()
    assert np.isnan(scores.coverage).all()


def test_the_state_comes_back_with_the_predictions_that_wait() -> None:
    actual = 10 + noise(120)
    accuracy = score(actual, actual - 1, actual, actual + 1)
    again = Accuracy(TARGET)
    again.restore(accuracy.state())
    np.testing.assert_array_equal(again.scores(KEYS).coverage, accuracy.scores(KEYS).coverage)
    assert [len(w) for w in again._waiting] == [len(w) for w in accuracy._waiting]


def test_a_state_of_other_horizons_is_left() -> None:
    actual = 10 + noise(120)
    other = Accuracy(Target(name="x", query="x", step=Duration(3600), horizons=(Duration(3600),)))
    other.restore(score(actual, actual, actual, actual).state())
    assert np.isnan(other.scores(KEYS).mase).all()
