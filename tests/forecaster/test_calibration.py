"""Coverage becomes nominal, on seeded and on recorded data, and what is well calibrated is left as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecaster.accuracy import Due
from forecaster.calibration import MOST, MOST_STRETCH, Calibration
from forecaster.models.robust import normal_scores

LEVELS = (0.1, 0.5, 0.9)
Z = normal_scores(LEVELS)
STEP = 300.0
DATA = Path(__file__).parent / "data" / "apps.csv.gz"


def due(rows: np.ndarray, raw: np.ndarray, actual: np.ndarray, lead: int = 0) -> Due:
    nothing = np.zeros((len(rows), 0), np.float32)
    raw32, actual32 = raw.astype(np.float32), actual.astype(np.float32)
    return Due(lead, rows, raw32, raw32, nothing, actual32, actual32)


def replay(actual: np.ndarray, raw: np.ndarray) -> np.ndarray:
    """What is issued for `actual` [time, series] when `raw` [time, series, level] is predicted one step ahead."""
    calibration = Calibration([STEP], [STEP], LEVELS)
    rows = np.arange(actual.shape[1])
    calibration.resize(len(rows))
    issued = np.empty_like(raw)
    for t in range(len(actual)):
        issued[t] = calibration.apply(rows, raw[t][:, None], LEVELS, STEP)[:, 0]
        seen = ~np.isnan(actual[t]) & ~np.isnan(raw[t]).any(1)
        calibration.add(due(rows[seen], raw[t][seen], actual[t][seen]))
    return issued


def coverage(actual: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    seen = ~np.isnan(actual) & ~np.isnan(quantiles).any(-1)
    return (actual[seen, None] <= quantiles[seen]).mean(0)


def pinball(actual: np.ndarray, quantiles: np.ndarray) -> float:
    error = actual[..., None] - quantiles
    return float(np.nanmean(np.maximum(np.array(LEVELS) * error, (np.array(LEVELS) - 1) * error)))


@pytest.mark.parametrize(("scale", "shift"), [(0.45, 0.0), (2.5, 0.0), (1.0, 0.8), (1.0, -0.8), (0.6, 0.5)])
def test_a_forecast_that_is_too_narrow_too_wide_or_biased_becomes_nominal(scale: float, shift: float) -> None:
    actual = 50 + 4 * np.random.default_rng(1).normal(size=(1500, 3))
    raw = np.tile(50 + 4 * (shift + scale * Z), (1500, 3, 1))
    issued = replay(actual, raw)
    late = slice(600, None)
    assert np.abs(coverage(actual[late], raw[late]) - LEVELS).max() > 0.08
    np.testing.assert_allclose(coverage(actual[late], issued[late]), LEVELS, atol=0.02)
    assert pinball(actual[late], issued[late]) < pinball(actual[late], raw[late])


def test_it_follows_drift_both_ways() -> None:
    rng = np.random.default_rng(2)
    spread = np.repeat([1.0, 2.2, 1.0], 1500)[:, None]
    actual = spread * rng.normal(size=(4500, 2))
    issued = replay(actual, np.tile(Z, (4500, 2, 1)))
    for first in (800, 2300, 3800):
        part = slice(first, first + 700)
        np.testing.assert_allclose(coverage(actual[part], issued[part]), LEVELS, atol=0.035)


def test_a_well_calibrated_forecast_loses_less_than_a_hundredth() -> None:
    actual = np.random.default_rng(3).normal(size=(3000, 4))
    raw = np.tile(Z, (3000, 4, 1))
    assert pinball(actual, replay(actual, raw)) < 1.01 * pinball(actual, raw)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_on_recorded_load_it_brings_coverage_to_nominal_and_the_loss_down(scale: float) -> None:
    """The last value, with the band of the steps that came before: far from normal, and its spread isn't steady."""
    values = pd.read_csv(DATA, index_col=0).to_numpy(np.float64)
    steps = np.diff(values, axis=0)
    width = np.nanquantile(np.abs(steps[:1000]), 0.8, axis=0)
    actual = values[1001:]
    raw = values[1000:-1, :, None] + scale * width[:, None] * np.array([-1.0, 0.3, 1.0])
    issued = replay(actual, raw)
    late = slice(len(actual) // 3, None)
    before, after = coverage(actual[late], raw[late]), coverage(actual[late], issued[late])
    np.testing.assert_allclose(after, LEVELS, atol=0.02)
    assert np.abs(after - LEVELS).max() < np.abs(before - LEVELS).max()
    assert pinball(actual[late], issued[late]) < pinball(actual[late], raw[late])


def test_quantiles_never_cross_and_nan_stays() -> None:
    rng = np.random.default_rng(4)
    calibration = Calibration([STEP, 12 * STEP], [STEP, STEP], LEVELS)
    calibration.resize(50)
    rows = np.arange(50)
    for _ in range(300):
        raw = np.sort(rng.gamma(0.3, size=(50, 3)), axis=1)
        calibration.add(due(rows, raw, rng.gamma(0.1, size=50) * 10, int(rng.integers(2))))
    values = np.sort(rng.gamma(0.3, size=(50, 20, 5)), axis=-1)
    values[7] = np.nan
    levels = (0.02, 0.1, 0.5, 0.9, 0.98)
    corrected = calibration.apply(rows, values, levels, STEP)
    assert np.isnan(corrected[7]).all()
    assert (np.diff(np.delete(corrected, 7, 0), axis=-1) >= 0).all()
    assert not np.allclose(np.delete(corrected, 7, 0), np.delete(values, 7, 0))


def test_with_nothing_scored_nothing_is_changed() -> None:
    calibration = Calibration([STEP], [STEP], LEVELS)
    calibration.resize(1)
    values = np.random.default_rng(5).normal(size=(2, 4, 3))
    np.testing.assert_array_equal(calibration.apply(np.array([0, -1]), values, LEVELS, STEP), values)


def test_one_wrong_prediction_moves_little_and_none_moves_far() -> None:
    calibration = Calibration([STEP], [STEP], LEVELS)
    calibration.resize(1)
    rows, raw = np.array([0]), Z[None]
    calibration.add(due(rows, raw, np.array([1e30])))
    once = calibration.apply(rows, raw[:, None], LEVELS, STEP)
    assert 0 < (once - raw).max() < 0.1
    for _ in range(1000):
        calibration.add(due(rows, raw, np.array([1e30])))
    np.testing.assert_allclose((calibration.apply(rows, raw[:, None], LEVELS, STEP) - raw).max(), MOST_STRETCH * Z[2])


def test_a_forecast_without_width_gathers_no_correction_to_throw_at_later_ones() -> None:
    calibration = Calibration([STEP], [STEP], LEVELS)
    calibration.resize(1)
    rows = np.array([0])
    for actual in (7.0, 9.0):
        for _ in range(500):
            calibration.add(due(rows, np.full((1, 3), 7.0), np.array([actual])))
    np.testing.assert_array_equal(calibration.apply(rows, Z[None, None], LEVELS, STEP), Z[None, None])


def test_between_leads_the_correction_is_interpolated_and_beyond_them_it_stays() -> None:
    calibration = Calibration([4 * STEP, 16 * STEP], [4 * STEP, 16 * STEP], LEVELS)
    calibration.resize(1)
    rows = np.array([0])
    for _ in range(2000):
        calibration.add(due(rows, Z[None], np.array([9.0]), 1))
    path = np.tile(Z, (1, 40, 1))
    moved = (calibration.apply(rows, path, LEVELS, STEP) - path)[0, :, 1]
    np.testing.assert_allclose(moved[[0, 3, 7, 15, 39]], MOST * np.array([0, 0, 0.5, 1, 1]))


def test_a_new_series_begins_half_way_to_what_all_others_need() -> None:
    calibration = Calibration([STEP], [STEP], LEVELS)
    calibration.resize(200)
    rng = np.random.default_rng(6)
    for _ in range(400):
        calibration.add(due(np.arange(200), np.tile(0.4 * Z, (200, 1)), rng.normal(size=200)))
    new = calibration.apply(np.array([-1]), 0.4 * Z[None, None], LEVELS, STEP)[0, 0]
    assert 0.7 * Z[2] < new[2] < Z[2]
    assert Z[0] < new[0] < 0.7 * Z[0]
