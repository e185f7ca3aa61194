"""Forecasts by the clock on the wall, on real days placed across the changes of the clocks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from numpy.typing import NDArray

from forecaster import backtest
from forecaster.frame import Frame
from forecaster.localtime import Calendar
from forecaster.models import build
from forecaster.models.ensemble import EnsemblePredictor
from forecaster.models.in_local_time import leads, on_the_wall

STEP, HOUR, DAY = 300.0, 12, 288
LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
BERLIN = Calendar("Europe/Berlin")
SPRING, AUTUMN = datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)


Lived = Callable[[datetime], Frame]


@pytest.fixture
def lived_in_berlin(apps: Frame) -> Lived:
    """Real applications whose users' day follows the clock in Berlin; it changes on the last day but two."""
    return lambda change: _lived(apps.values, change)


def _lived(days: NDArray[np.float64], change: datetime) -> Frame:
    start = change.timestamp() - 12.5 * 86400
    times = start + STEP * np.arange(14.5 * DAY)
    wall = times + BERLIN.offsets(start, STEP, len(times))
    column = np.rint((wall - wall[0]) / STEP).astype(int)
    return Frame(start, STEP, tuple({"app": str(i)} for i in range(4)), days[:, column])


def at(frame: Frame, moment: datetime) -> int:
    """The column of `moment`."""
    return round((moment.timestamp() - frame.start) / frame.step)


def loss(frame: Frame, origin: int, name: str, calendar: Calendar | None) -> NDArray[np.float64]:
    """Pinball loss of a day's forecast from `origin`, by series."""
    return backtest.refitted(build((name,), calendar), frame, [origin], DAY, LEVELS).scores(0, DAY).pinball


def row(values: NDArray[np.float64], start: datetime, step: float = STEP) -> Frame:
    return Frame(start.timestamp(), step, ({"app": "a"},), values[None].astype(float))


@pytest.mark.parametrize(("name", "bar"), [("seasonal_naive", 0.97), ("profile", 0.7)])
@pytest.mark.parametrize("change", [SPRING, AUTUMN], ids=["spring", "autumn"])
@pytest.mark.parametrize("hours", [-6, 6, 18], ids=["across the change", "on its day", "on the day after"])
def test_where_clocks_changed_local_time_beats_utc(
    lived_in_berlin: Lived, name: str, bar: float, change: datetime, hours: int
) -> None:
    frame = lived_in_berlin(change)
    origin = at(frame, change + timedelta(hours=hours))
    ratio = loss(frame, origin, name, BERLIN) / loss(frame, origin, name, None)
    assert np.exp(np.log(ratio).mean()) < bar


def test_a_skipped_hour_is_a_gap_and_the_present_stays_where_it_is() -> None:
    frame = row(np.arange(10), SPRING - timedelta(hours=4), 3600.0)
    local = on_the_wall(frame, BERLIN)
    np.testing.assert_array_equal(local.values[0], [0, 1, 2, 3, np.nan, 4, 5, 6, 7, 8, 9])
    assert local.end == frame.end + 7200
    assert local.start == frame.start + 3600


def test_of_an_hour_shown_twice_the_second_reading_is_kept_or_the_first_where_that_is_missing() -> None:
    values = np.arange(10.0)
    frame = row(values, AUTUMN - timedelta(hours=4), 3600.0)
    np.testing.assert_array_equal(on_the_wall(frame, BERLIN).values[0], [0, 1, 2, 4, 5, 6, 7, 8, 9])
    values[4] = np.nan
    np.testing.assert_array_equal(on_the_wall(row(values, AUTUMN - timedelta(hours=4), 3600.0), BERLIN).values[0, 3], 3)


def test_what_the_clock_has_yet_to_show_again_is_left_out() -> None:
    frame = row(np.arange(20), AUTUMN - timedelta(minutes=80))  # ends 15 min into the second time
    local = on_the_wall(frame, BERLIN)
    np.testing.assert_array_equal(local.values[0], [0, 1, 2, 3, 16, 17, 18, 19])
    brief = on_the_wall(row(np.arange(7), AUTUMN - timedelta(minutes=25)), BERLIN)
    np.testing.assert_array_equal(brief.values[0], [5, 6])


def test_leads_skip_the_hour_that_does_not_come_and_repeat_the_one_that_comes_twice() -> None:
    spring = row(np.zeros(5), SPRING - timedelta(hours=6), 3600.0)
    assert leads(spring, 4, BERLIN).tolist() == [0, 2, 3, 4]
    autumn = row(np.zeros(5), AUTUMN - timedelta(hours=6), 3600.0)
    assert leads(autumn, 4, BERLIN).tolist() == [0, 0, 1, 2]
    between = row(np.zeros(7), AUTUMN - timedelta(hours=7), 3600.0)  # it is 2 h, and in an hour it is 2 h again
    assert leads(between, 3, BERLIN).tolist() == [0, 0, 1]


def test_without_a_change_history_is_not_copied_but_starts_by_the_clock_on_the_wall() -> None:
    frame = row(np.arange(2 * DAY), SPRING - timedelta(days=5))
    local = on_the_wall(frame, Calendar("Asia/Kolkata"))
    assert local.values is frame.values
    assert local.start == frame.start + 5.5 * 3600


@pytest.mark.parametrize(("step", "moved"), [(420.0, 9), (3000.0, 1), (7300.0, 0), (86400.0, 0)])
def test_a_step_that_does_not_divide_the_change_moves_by_the_nearest_number_of_steps(step: float, moved: int) -> None:
    values = np.arange(40.0)
    local = on_the_wall(row(values, SPRING - timedelta(seconds=20 * step), step), BERLIN)
    np.testing.assert_array_equal(local.values[0], [*values[:20], *[np.nan] * moved, *values[20:]])


@pytest.mark.parametrize("change", [SPRING, AUTUMN], ids=["spring", "autumn"])
def test_what_comes_after_the_origin_changes_nothing(lived_in_berlin: Lived, change: datetime) -> None:
    frame = lived_in_berlin(change)
    origin = at(frame, change - timedelta(hours=6))
    altered = frame.values.copy()
    altered[:, origin:] = 1e6
    after = Frame(frame.start, frame.step, frame.labels, altered)
    model = build(("profile",), BERLIN)
    first, second = (backtest.refitted(model, one, [origin], DAY, LEVELS).windows[0] for one in (frame, after))
    np.testing.assert_array_equal(first.forecast.values, second.forecast.values)
    assert first.forecast.start == frame.start + origin * STEP
    assert first.forecast.horizon == DAY


def test_an_ensemble_by_local_time_still_says_what_its_models_said_and_can_do_without_one(
    lived_in_berlin: Lived,
) -> None:
    frame = lived_in_berlin(AUTUMN)
    history = frame.between(0, at(frame, AUTUMN - timedelta(hours=6)))
    model = build(("seasonal_naive", "profile"), BERLIN)
    mixed = model.fit(history, DAY)
    assert isinstance(mixed, EnsemblePredictor)
    forecast = mixed.predict(history, DAY, (0.5,))
    alone = {name: build((name,), BERLIN).fit(history, DAY).predict(history, DAY, (0.5,)) for name in forecast.parts}
    assert set(alone) == {"seasonal_naive", "profile"}
    np.testing.assert_allclose(forecast.parts["profile"], alone["profile"].values[:, :, 0], rtol=1e-5)
    again = model.restore(mixed.state()).predict(history, DAY, (0.5,))
    np.testing.assert_array_equal(again.values, forecast.values)
    demoted = mixed.without({"profile": set(mixed.keys)}).predict(history, DAY, (0.5,))
    np.testing.assert_allclose(demoted.values, alone["seasonal_naive"].values, rtol=1e-5)


def test_a_zone_that_is_only_utc_under_another_name_changes_nothing(lived_in_berlin: Lived) -> None:
    frame = lived_in_berlin(SPRING)
    origin = at(frame, SPRING)
    np.testing.assert_array_equal(
        loss(frame, origin, "profile", Calendar("Africa/Abidjan")), loss(frame, origin, "profile", None)
    )


@pytest.mark.parametrize("name", ["Berlin", "Europe", "../etc/passwd", "", "CEST+1"])
def test_a_zone_that_does_not_exist_is_refused_with_an_example(name: str) -> None:
    with pytest.raises(ValueError, match="timezone: expected an IANA name such as Europe/Berlin, got"):
        Calendar(name)
