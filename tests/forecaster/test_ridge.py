"""Ridge and the seasons under it: gaps, weeks, what was known when, and what it is good for."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from forecaster import backtest
from forecaster.frame import Frame
from forecaster.models import build, season
from forecaster.models.grid import Grid
from forecaster.models.ridge import Ridge

DAY = 288
GRID = Grid(300.0)
MIDNIGHT = 1_772_409_600.0  # Monday 2 March 2026
LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)


def wave(days: int) -> NDArray[np.float64]:
    """A day that is a mixture of two sines, and a weekend at half of it, from a Monday on."""
    time = np.arange(days * DAY)
    day = 2 + np.sin(2 * np.pi * time / DAY) + 0.5 * np.cos(6 * np.pi * time / DAY)
    return day * np.where(time // DAY % 7 >= 5, 0.5, 1.0)


def test_each_series_is_fitted_by_what_was_seen_of_it() -> None:
    """The season of one with two thirds missing is that of the whole; of one that is all gap it is nothing."""
    random = np.random.default_rng(2)
    whole = np.sin(2 * np.pi * np.arange(14 * DAY) / DAY) + random.normal(0, 0.1, 14 * DAY)
    values = np.stack([whole, np.where(random.random(14 * DAY) < 0.67, np.nan, whole), np.full(14 * DAY, np.nan)])
    found = season.fit(values, GRID, MIDNIGHT, 0)[:, 0]
    np.testing.assert_allclose(found[1], found[0], atol=0.02)
    assert (found[2] == 0).all()
    path = found[0, season.KINDS.index("day")] @ season.basis_of(GRID).at(MIDNIGHT + 300.0 * np.arange(DAY)).T
    assert np.abs(path - np.sin(2 * np.pi * np.arange(DAY) / DAY)).max() < 0.1


@pytest.mark.parametrize("step", [60.0, 300.0, 420.0, 1000.0, 3600.0])
def test_the_season_of_an_earlier_day_knows_nothing_after_it(step: float) -> None:
    grid = Grid(step)
    values = np.random.default_rng(4).normal(size=(2, grid.length))
    for back in (1, grid.day, grid.day + 1, 3 * grid.day + grid.day // 2):
        altered = values.copy()
        altered[:, grid.length - back :] = 50.0
        then = season.day_before(grid, back)
        first, second = (season.fit(one, grid, MIDNIGHT, 5)[:, then] for one in (values, altered))
        np.testing.assert_array_equal(first, second)
        assert not np.array_equal(season.fit(altered, grid, MIDNIGHT, 0), season.fit(values, grid, MIDNIGHT, 0))


def test_two_weeks_teach_the_week_and_one_does_not() -> None:
    for days, learned in ((14, True), (7, False)):
        padded = np.concatenate([np.full((14 - days) * DAY, np.nan), wave(days)])[None]
        found = season.fit(padded, GRID, MIDNIGHT + 14 * 86400, 0)[0, 0]
        assert np.array_equal(found[season.KINDS.index("week")], found[season.KINDS.index("day")]) is not learned


def test_a_weekend_ahead_is_forecast_as_one() -> None:
    history = Frame(MIDNIGHT, 300.0, ({"app": "a"},), wave(19)[None])  # ends on a Friday
    median = Ridge().fit(history, DAY).predict(history, DAY, (0.5,)).values[0, :, 0]
    came = wave(20)[-DAY:]
    assert np.abs(median[DAY // 4 :] - came[DAY // 4 :]).mean() < 0.5 * np.abs(2 * came - came).mean()


def test_an_hour_ahead_ridge_alone_beats_seasonal_naive_on_real_applications(apps: Frame) -> None:
    """Over the last four days, 18 origins. A day ahead it is too smooth for these and loses."""
    origins = backtest.origins(apps.length - DAY, apps.length - 4 * DAY, DAY // 6)
    past = apps.between(0, origins[0])
    mine, floor = (
        backtest.run(build((name,)).fit(past, 12), apps, origins, 12, LEVELS) for name in ("ridge", "seasonal_naive")
    )
    ratio = backtest.relative(mine.scores(0, 12).pinball, floor.scores(0, 12).pinball)
    assert np.exp(np.log(ratio).mean()) < 0.95
