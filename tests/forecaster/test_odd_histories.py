"""Histories that aren't two clean weeks: short ones, with holes, at a new level; samples and series that come and go.

On the days of four real applications. A change of the clocks is in test_localtime.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cloudpulse.promql import Series
from forecaster import backtest
from forecaster.frame import Frame
from forecaster.models import build
from forecaster.models.profile import Profile
from forecaster.models.rebased import rebased

HOUR, DAY = 12, 288
LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
ORIGINS = (11 * DAY + 60, 12 * DAY + 200, 13 * DAY + 130)
"""At different times of day."""
Floats = NDArray[np.float64]


def made(name: str) -> Any:
    return build("auto" if name == "auto" else tuple(name.split(",")))


def windows(name: str, frames: Sequence[Frame], horizon: int = DAY) -> list[backtest.Window]:
    """For the frame of each origin: trained on what is before, forecast, and what came."""
    return [
        backtest.refitted(made(name), frame, [origin], horizon, LEVELS).windows[0]
        for frame, origin in zip(frames, ORIGINS, strict=True)
    ]


def loss(found: Sequence[backtest.Window]) -> Floats:
    """Mean pinball loss by series."""
    return np.mean([window.pinball().mean(1) for window in found], axis=0)


def ratio(mine: Floats, other: Floats) -> float:
    """Geometric mean over the series: below 1 is better."""
    return float(np.exp(np.log(mine / other).mean()))


def coverage(found: Sequence[backtest.Window]) -> float:
    """Share of what came that lay in the 10-90% band."""
    return float(np.mean([np.nanmean(window.inside()) for window in found]))


def altered(apps: Frame, alter: Callable[[Floats, int], None]) -> list[Frame]:
    """For each origin the frame, altered."""
    frames = []
    for origin in ORIGINS:
        values = apps.values.copy()
        alter(values, origin)
        frames.append(replace(apps, values=values))
    return frames


def begun(apps: Frame, columns: int) -> list[Frame]:
    """Series that began so many columns before the origin."""

    def alter(values: Floats, origin: int) -> None:
        values[:, : origin - columns] = np.nan

    return altered(apps, alter)


def without(apps: Frame, first: int, last: int) -> list[Frame]:
    """Nothing was seen from `first` to `last` steps before the origin."""

    def alter(values: Floats, origin: int) -> None:
        values[:, origin - first : origin - last] = np.nan

    return altered(apps, alter)


def last_value_error(frames: Sequence[Frame], horizon: int) -> Floats:
    """What holding the last value costs, mean absolute error by series."""
    errors = []
    for frame, origin in zip(frames, ORIGINS, strict=True):
        errors.append(np.abs(frame.values[:, origin : origin + horizon] - frame.values[:, [origin - 1]]).mean(1))
    return np.mean(errors, axis=0)


def error(found: Sequence[backtest.Window]) -> Floats:
    return np.mean([window.absolute_error().mean(1) for window in found], axis=0)


@pytest.mark.parametrize("name", ["profile", "auto"])
def test_one_point_is_nothing_to_forecast_from(apps: Frame, name: str) -> None:
    for window in windows(name, begun(apps, 1)):
        assert np.isnan(window.forecast.values).all()


@pytest.mark.parametrize("name", ["profile", "auto"])
def test_after_an_hour_the_next_day_is_no_further_off_than_the_last_value_and_seasonal_naive(
    apps: Frame, name: str
) -> None:
    frames = begun(apps, HOUR)
    found = windows(name, frames)
    assert ratio(error(found), last_value_error(frames, DAY)) < 1.1
    assert ratio(loss(found), loss(windows("seasonal_naive", frames))) < 0.95


@pytest.mark.parametrize("name", ["profile", "auto"])
@pytest.mark.parametrize("days", [1, 3])
def test_after_a_day_or_three_the_shape_of_the_day_is_known(apps: Frame, name: str, days: int) -> None:
    frames = begun(apps, days * DAY)
    found = windows(name, frames)
    assert ratio(error(found), last_value_error(frames, DAY)) < 0.5
    assert 0.7 < coverage(found) < 0.97


@pytest.mark.parametrize(
    ("first", "last"),
    [(40, 10), (3 * DAY + 30, 3 * DAY - 60), (5 * DAY, 3 * DAY), (6 * HOUR + 6, 6), (DAY + 6, 6)],
    ids=["2.5 h lately", "7.5 h", "two days", "6 h, just over", "a day, just over"],
)
def test_an_outage_is_forgotten_when_it_is_over(apps: Frame, first: int, last: int) -> None:
    """What a hole in the history costs is little, and the forecast stays better than seasonal naive's."""
    whole, holed = windows("profile", without(apps, 0, 0)), windows("profile", without(apps, first, last))
    assert ratio(loss(holed), loss(whole)) < 1.15
    assert ratio(loss(holed), loss(windows("seasonal_naive", without(apps, first, last)))) < 0.95
    assert 0.65 < coverage(holed) < 0.95


def test_an_ensemble_forgets_an_outage_too(apps: Frame) -> None:
    whole, holed = (windows("profile,ridge", without(apps, *hole)) for hole in ((0, 0), (DAY + 6, 6)))
    assert ratio(loss(holed), loss(whole)) < 1.15


def tripled(apps: Frame, columns: int) -> list[Frame]:
    """Three times the load, for good, from so many columns before the origin on."""

    def alter(values: Floats, origin: int) -> None:
        values[:, origin - columns :] *= 3

    return altered(apps, alter)


@pytest.mark.parametrize("columns", [DAY // 2, DAY])
def test_a_lasting_shift_of_the_level_is_followed(apps: Frame, columns: int) -> None:
    """With the past where it was, profile would trust it for days; seasonal naive learns of a shift a day later."""
    frames = tripled(apps, columns)
    found = windows("profile", frames)
    stubborn = [
        backtest.refitted(Profile(), frame, [origin], DAY, LEVELS).windows[0]
        for frame, origin in zip(frames, ORIGINS, strict=True)
    ]
    assert ratio(loss(found), loss(stubborn)) < 0.5
    if columns < DAY:
        assert ratio(loss(found), loss(windows("seasonal_naive", frames))) < 0.5


def test_a_shift_is_followed_without_another_training(apps: Frame) -> None:
    (frame, *_), origin = tripled(apps, DAY // 2), ORIGINS[0]
    early = frame.between(0, origin - DAY)
    adapting, stubborn = (
        backtest.run(model.fit(early, DAY), frame, [origin], DAY, LEVELS).windows
        for model in (made("profile"), Profile())
    )
    assert ratio(loss(adapting), loss(stubborn)) < 0.5


def test_a_shift_moves_the_past_by_its_factor_or_its_difference_and_leaves_the_rest(apps: Frame) -> None:
    history = apps.between(0, 14 * DAY)
    values = history.values.copy()
    values[1, -DAY:] *= 3
    values[2, -DAY:] += 10 * values[2].max()
    moved = rebased(replace(history, values=values)).values
    np.testing.assert_array_equal(moved[[0, 3]], values[[0, 3]])
    np.testing.assert_array_equal(moved[:, -DAY:], values[:, -DAY:])
    np.testing.assert_allclose(moved[1, :-DAY] / values[1, :-DAY], 3, rtol=0.2)
    difference = moved[2, :-DAY] - values[2, :-DAY]
    np.testing.assert_allclose(difference, 10 * history.values[2].max(), rtol=0.1)


def test_real_days_and_an_incident_that_is_over_are_no_shift(apps: Frame) -> None:
    for origin in range(11 * DAY, 15 * DAY, 30):
        history = apps.between(0, origin)
        assert rebased(history) is history
        values = history.values.copy()
        values[:, -DAY:-HOUR] *= 5
        over = replace(history, values=values)
        np.testing.assert_array_equal(rebased(over).values, values)


def test_a_drop_that_lasts_does_not_take_a_load_below_zero(apps: Frame) -> None:
    values = apps.values.copy()
    values[:, -DAY:] = 0.01 * values[:, -DAY:] + 0.001
    moved = rebased(replace(apps, values=values)).values
    assert not np.array_equal(moved, values)
    assert (moved >= 0).all()


@pytest.mark.parametrize("gap", [0, 30])
def test_a_constant_with_holes_is_forecast_as_itself(apps: Frame, gap: int) -> None:
    values = np.full_like(apps.values, 3.7)
    values[:, ::3] = np.nan
    values[:, 1000:1500] = np.nan
    values[:, apps.length - gap :] = np.nan
    history = replace(apps, values=values)
    for name in ("seasonal_naive", "profile", "ridge"):
        assert (made(name).fit(history, DAY).predict(history, DAY, LEVELS).values == 3.7).all()


def replayed(apps: Frame, bench: Any, row: int) -> Callable[[], Series]:
    """A real application, known up to now: its 13th day begins when the bench's clock starts."""
    start = bench.clock() // 300 * 300 - 12 * DAY * 300
    times = start + 300.0 * np.arange(apps.length)

    def now() -> Series:
        known = times <= bench.clock()
        return Series({"__name__": "rps", **apps.labels[row]}, times[known], apps.values[row, known])

    return now


def forecast_of(bench: Any, app: str) -> Floats | None:
    """The newest medians of a series; None where there is no forecast of it."""
    forecast = bench.store.get("rps").forecast
    rows = [i for i, labels in enumerate(forecast.labels) if labels["app"] == app]
    return forecast.values[rows[0], :, forecast.levels.index(0.5)] if rows else None


def test_late_and_repeated_samples_end_in_the_same_forecast(make_bench: Callable[..., Any], apps: Frame) -> None:
    """Samples that arrive up to 10 minutes late, some of them twice, the first time with a value later corrected."""
    punctual, late = make_bench(), make_bench()
    for bench in (punctual, late):
        bench.series[:] = [replayed(apps, bench, 0)]
    whole = late.series[0]

    def troubled() -> Series:
        series = whole()
        age = late.clock() - series.times
        arrived = (age >= 600) | (series.times // 300 % 3 != 0)
        preliminary = np.where((age < 300) & arrived, 0.5 * series.values, series.values)
        twice = np.repeat(np.flatnonzero(arrived), 2)
        values = preliminary[twice]
        values[::2] *= 0.9
        return Series(series.labels, series.times[twice], values)

    late.series[:] = [troubled]
    for bench in (punctual, late):
        bench.rounds(13)
    history, expected = late.pipeline._history.frame.values[0], punctual.pipeline._history.frame.values[0]
    np.testing.assert_array_equal(history[-DAY:-3], expected[-DAY:-3])


def test_a_series_that_goes_is_absent_and_one_that_comes_back_is_forecast_at_once(
    make_bench: Callable[..., Any], apps: Frame
) -> None:
    bench = make_bench(models=("profile",))
    steady, coming = replayed(apps, bench, 0), replayed(apps, bench, 1)
    bench.series[:] = [steady, coming]
    bench.rounds(3)
    before = forecast_of(bench, "app09")
    assert before is not None
    bench.series[:] = [steady]
    bench.rounds(6)
    assert forecast_of(bench, "app09") is None
    assert forecast_of(bench, "app02") is not None
    bench.series[:] = [steady, coming]
    bench.rounds(2)
    after = forecast_of(bench, "app09")
    assert after is not None
    column = round((bench.store.get("rps").forecast.start - coming().times[0]) / 300)
    came = apps.values[1, column : column + HOUR]
    assert np.abs(after[:HOUR] - came).mean() < 0.15 * came.mean()


def test_a_series_that_no_training_has_seen_is_forecast_from_its_first_quarter_of_an_hour(
    make_bench: Callable[..., Any], apps: Frame
) -> None:
    bench = make_bench(models=("profile",))
    bench.series[:] = [replayed(apps, bench, 0)]
    bench.rounds(3)
    bench.pipeline._upkeep.hand_out = lambda: None  # no training, from here on
    whole, came_at = replayed(apps, bench, 1), bench.clock()

    def fresh() -> Series:
        series = whole()
        known = series.times > came_at
        return Series(series.labels, series.times[known], series.values[known])

    bench.series.append(fresh)
    bench.rounds(2)
    assert forecast_of(bench, "app09") is None
    assert bench.count("cloudpulse_forecaster_series_skipped", reason="too_short") == 1
    bench.rounds(4)
    known = fresh().values
    assert np.abs(forecast_of(bench, "app09")[0] / known.mean() - 1) < 0.5
