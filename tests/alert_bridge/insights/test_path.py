"""A path ahead, and when its levels cross."""

from __future__ import annotations

import math

import numpy as np
import pytest

from alert_bridge.insights.path import Path, ahead

LEVELS = (0.1, 0.5, 0.9)
NOW = 1_000_000.0
TIMES = NOW + 60.0 * np.arange(181)


def knot(median: float) -> np.ndarray:
    return np.array([median - 10, median, median + 10])


def test_near_horizons_are_joined_by_lines_that_begin_at_what_is_now() -> None:
    way = ahead(NOW, TIMES, LEVELS, np.full(3, 100.0), {900.0: knot(70), 3600.0: knot(40)}, {})
    assert way.values[0].tolist() == [100, 100, 100]
    assert way.values[15].tolist() == pytest.approx([60, 70, 80])
    assert way.values[60].tolist() == pytest.approx([30, 40, 50])
    assert way.reach == NOW + 3600
    assert np.isnan(way.values[61:]).all()


def test_a_far_horizon_lends_its_form_and_starts_where_the_near_one_ends() -> None:
    form = 50 + 20 * np.sin((TIMES - NOW) / 3600)[:, None] + np.array([-10, 0, 10])
    way = ahead(NOW, TIMES, LEVELS, np.full(3, 100.0), {3600.0: knot(80), 86400.0: knot(50)}, {86400.0: form})
    assert way.reach == TIMES[-1]
    assert way.values[60, 1] == pytest.approx(80)
    assert abs(way.values[61, 1] - way.values[60, 1]) < 1
    moved = way.values[120, 1] - form[120, 1]
    assert 0 < moved < 80 - form[60, 1]


def test_levels_never_cross_one_another() -> None:
    way = ahead(NOW, TIMES, LEVELS, knot(1), {3600.0: np.array([5.0, 4.0, 3.0])}, {})
    known = way.values[np.isfinite(way.values).all(1)]
    assert (np.diff(known, axis=1) >= 0).all()


def rising() -> Path:
    """The median rises from 0 by 1 a minute; the band is 10 wide on either side."""
    return Path(TIMES, LEVELS, (TIMES - NOW)[:, None] / 60 + np.array([-10.0, 0.0, 10.0]))


def test_above_a_threshold_the_upper_level_crosses_first() -> None:
    way = rising()
    assert way.crosses(0.9, 30.5, 1) == pytest.approx(NOW + 20.5 * 60)
    assert way.crosses(0.5, 30.5, 1) == pytest.approx(NOW + 30.5 * 60)
    assert way.crosses(0.5, 1000.0, 1) is None
    assert way.crosses(0.7, 30.0, 1) is None


def test_below_a_threshold_the_lower_level_crosses_first() -> None:
    falling = Path(TIMES, LEVELS, 100 - rising().values[:, ::-1])
    low, even = falling.crosses(0.1, 70.0, -1), falling.crosses(0.5, 70.0, -1)
    assert low is not None
    assert even is not None
    assert low < even == pytest.approx(NOW + 30 * 60)


def test_a_gap_crosses_nothing() -> None:
    values = rising().values.copy()
    values[10:50] = math.nan
    assert Path(TIMES, LEVELS, values).crosses(0.5, 20.0, 1) == TIMES[50]
