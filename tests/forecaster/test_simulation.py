"""A load of the past through the HPA: hand-computed minutes and pod-hours, gaps, and nothing from the future."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cloudpulse.hpa import Behavior, Policy, ScalingRules
from forecaster.frame import Frame
from forecaster.prices import Prices, best
from forecaster.replay import Replayed
from forecaster.simulation import Choice, Course, Outcome, Setup, simulate

START, STEP = 1_700_000_040.0, 60.0  # a whole minute
SETUP = Setup(pod_capacity=10, target=0.5, lag_seconds=0)
AT_ONCE = Behavior(
    ScalingRules(0, (Policy("Pods", 100, 15),)), ScalingRules(0, (Policy("Pods", 100, 15),), tolerance=0.0)
)


def load_of(values: list[float]) -> Frame:
    return Frame(START, STEP, ({"series": "load"},), np.array([values]))


def silent(load: Frame) -> Replayed:
    """Forecasts that are always under what is measured, so that they change nothing."""
    return replayed(load, np.zeros(load.length))


def replayed(load: Frame, ahead: np.ndarray, steps: int = 3) -> Replayed:
    """At each column the forecast `ahead` [column] for `steps` later, at level 0.9."""
    times = load.start + load.step * np.arange(load.length)
    return Replayed(times, (steps,), (0.9,), ahead[:, None, None])


def known(load: Frame, steps: int = 3) -> Replayed:
    """Forecasts that are right."""
    values = load.values[0]
    return replayed(load, np.append(values[steps:], [np.nan] * steps), steps)


def run(load: Frame, forecasts: Replayed, setup: Setup = SETUP) -> Outcome:
    return simulate(load, forecasts, [Choice(forecasts.horizons[0], 0.9)], setup)


def pods_at(course: Course, seconds: float) -> tuple[int, int]:
    i = int(np.searchsorted(course.scale.times, START + seconds, side="right")) - 1
    return int(course.scale.pods[i]), int(course.scale.ready[i])


STAIR = load_of([10.0] * 11 + [40.0] * 10)
"""10 up to second 600, 40 from then up to 1200: the sample at 660 is the first that says so."""


def test_reactive_scaling_is_short_until_what_it_started_is_ready() -> None:
    """2 pods of 10 at a target of 5. At 660 the HPA wants 8, may have 4 (ready at 780), and at 675 the other 4."""
    figures = run(STAIR, silent(STAIR)).reactive.figures
    assert figures.short_minutes == 3  # from 600 to 780, when 4 pods serve 40
    assert figures.unserved == 20 * 180
    assert figures.demand == 10 * 600 + 40 * 600
    assert figures.unserved_share == pytest.approx(0.12)
    assert figures.pod_hours == pytest.approx((2 * 660 + 4 * 15 + 8 * 525) / 3600)
    assert (figures.scalings, figures.flaps, figures.hours) == (2, 0, pytest.approx(1 / 3))


def test_a_forecast_as_far_ahead_as_pods_and_samples_need_is_never_short() -> None:
    """Made at 480 for 660: 4 pods at 480, ready at 600, as the load comes."""
    (course,) = run(STAIR, known(STAIR)).predictive
    assert course.figures.short_minutes == 0
    assert course.figures.pod_hours == pytest.approx((2 * 480 + 4 * 15 + 8 * 705) / 3600)


def test_a_forecast_that_stands_is_followed_along_its_curve() -> None:
    """Made every third step: what was said for 3, 4 and 5 steps later is what a new one would have said each step."""
    values = STAIR.values[0]
    made = np.arange(0, STAIR.length, 3)
    curve = np.stack([np.append(values[steps:], [np.nan] * steps)[made] for steps in (3, 4, 5)], 1)
    seldom = Replayed(START + STEP * made, (3, 4, 5), (0.9,), np.nan_to_num(curve, nan=40.0)[:, :, None])
    (course,) = run(STAIR, seldom).predictive
    (often,) = run(STAIR, known(STAIR)).predictive
    assert course.figures == often.figures
    (held,) = run(STAIR, Replayed(seldom.times, (3,), (0.9,), seldom.values[:, :1])).predictive
    assert held.figures.pod_hours <= often.figures.pod_hours, "beyond its curve a forecast says nothing"


def test_what_is_measured_comes_a_lag_later_and_a_forecast_two() -> None:
    outcome = run(STAIR, known(STAIR), replace(SETUP, lag_seconds=30))
    assert outcome.start == START + 60
    assert outcome.reactive.figures.short_minutes == 3.5  # decided at 690
    assert outcome.predictive[0].figures.short_minutes == 1  # decided at 540, ready at 660


def test_where_nothing_was_forecast_the_measured_value_is_followed() -> None:
    nothing = np.full(STAIR.length, np.nan)
    nothing[0] = 0.0
    outcome = run(STAIR, replayed(STAIR, nothing))
    assert outcome.predictive[0].figures == outcome.reactive.figures


def test_a_forecast_below_what_is_measured_never_takes_pods_away() -> None:
    outcome = run(STAIR, silent(STAIR))
    assert outcome.predictive[0].figures == outcome.reactive.figures


def test_the_first_minutes_without_a_forecast_count_for_neither() -> None:
    late = replayed(STAIR, np.append([np.nan] * 5, np.zeros(16)))
    outcome = run(STAIR, late)
    assert outcome.start == START + 5 * 60
    assert outcome.reactive.figures.hours == pytest.approx(15 / 60)


def test_pods_that_are_stopped_before_they_are_ready_never_serve() -> None:
    """A minute of 40 is seen at 360; the eight pods that it asks for are stopped at 420, before they serve at 480."""
    load = load_of([10.0] * 6 + [40.0] + [10.0] * 8)
    course = run(load, silent(load), replace(SETUP, behavior=AT_ONCE)).reactive
    assert [pods_at(course, second) for second in (359, 360, 419, 420, 600)] == [(2, 2), (8, 2), (8, 2), (2, 2), (2, 2)]
    assert course.figures.flaps == 1
    assert course.figures.short_minutes == 1  # from 300 to 360


def test_the_newest_pods_stop_first() -> None:
    load = load_of([20.0] * 6 + [40.0] + [30.0] * 8)
    course = run(load, silent(load), replace(SETUP, behavior=AT_ONCE)).reactive
    assert [pods_at(course, second) for second in (360, 420, 479, 480)] == [(8, 4), (6, 4), (6, 4), (6, 6)]


def test_in_a_gap_the_hpa_waits_and_the_time_counts_nowhere() -> None:
    """Seen at 600 only: from 300 to 540 the load is unknown, though it was 40 by the end of it."""
    gap = load_of([10.0] * 6 + [np.nan] * 4 + [40.0] * 6)
    course = run(gap, silent(gap)).reactive
    assert [pods_at(course, second)[0] for second in (300, 599, 600, 615)] == [2, 2, 4, 8]
    assert course.figures.hours == pytest.approx((15 - 4) / 60)
    assert course.figures.short_minutes == 3  # 540 to 720
    assert course.figures.demand == 10 * 300 + 40 * 360
    assert course.figures.pod_hours == pytest.approx((2 * (300 + 60) + 4 * 15 + 8 * 285) / 3600)


def test_a_forecast_alone_moves_nothing_while_the_load_is_unknown() -> None:
    gap = load_of([10.0] * 6 + [np.nan] * 4 + [10.0] * 6)
    (course,) = run(gap, replayed(gap, np.append(np.zeros(6), [90.0] * 4 + [0.0] * 6))).predictive
    assert course.figures.scalings == 0


def test_bounds_and_behavior_are_the_hpas() -> None:
    (course,) = run(STAIR, known(STAIR), replace(SETUP, minimum=3, maximum=5)).predictive
    assert set(course.scale.pods.tolist()) == {3, 5}
    slow = Behavior(ScalingRules(0, (Policy("Pods", 1, 60),)), AT_ONCE.scale_down)
    reactive = run(STAIR, silent(STAIR), replace(SETUP, behavior=slow)).reactive
    assert [pods_at(reactive, second)[0] for second in (659, 660, 719, 720, 780)] == [2, 3, 3, 4, 5]


@pytest.mark.parametrize("behavior", [None, Behavior(), AT_ONCE])
def test_changing_the_future_changes_nothing_before(behavior: Behavior | None) -> None:
    rng = np.random.default_rng(7)
    values = np.abs(rng.normal(40, 25, 300)).round(3)
    values[rng.random(300) < 0.05] = np.nan
    ahead = np.abs(rng.normal(40, 25, 300))
    setup = replace(SETUP, behavior=behavior, lag_seconds=20)
    whole = run(load_of(values.tolist()), replayed(load_of(values.tolist()), ahead), setup)
    for cut in (30, 171, 260):
        other, others = values.copy(), ahead.copy()
        other[cut:], others[cut:] = rng.uniform(0, 500, 300 - cut), rng.uniform(0, 500, 300 - cut)
        changed = run(load_of(other.tolist()), replayed(load_of(other.tolist()), others), setup)
        moment = START + cut * STEP
        for before, after in ((whole.reactive, changed.reactive), (whole.predictive[0], changed.predictive[0])):
            kept = before.scale.times < moment
            assert kept.sum() > 5
            assert before.scale.pods[kept].tolist() == after.scale.pods[: kept.sum()].tolist()
            assert before.scale.times[kept].tolist() == after.scale.times[: kept.sum()].tolist()


def test_the_integrals_are_those_of_a_plain_second_by_second_count() -> None:
    rng = np.random.default_rng(3)
    load = load_of(np.abs(rng.normal(60, 30, 60)).round(2).tolist())
    course = run(load, silent(load), replace(SETUP, ready_seconds=47, behavior=AT_ONCE)).reactive
    short = unserved = pods = 0.0
    for second in range(59 * 60):
        demand = load.values[0, second // 60 + 1]
        exist, ready = pods_at(course, second)
        pods += exist
        short += demand > ready * 10
        unserved += max(0.0, demand - ready * 10)
    assert course.figures.short_minutes == pytest.approx(short / 60)
    assert course.figures.unserved == pytest.approx(unserved)
    assert course.figures.pod_hours == pytest.approx(pods / 3600)
    assert course.figures.flaps > 5


def test_the_best_is_the_cheapest_or_the_least_short_within_five_percent_more_pods() -> None:
    outcome = run(STAIR, known(STAIR))
    (ahead,) = outcome.predictive
    assert best(outcome, Prices()) is outcome.reactive  # 1.85 pod-hours against 1.55
    assert best(outcome, Prices(pod_hour=1, short_minute=1)) is ahead
    assert best(outcome, Prices(pod_hour=1, short_minute=0.01)) is outcome.reactive
    assert Prices(2, 3, 0.5).cost(outcome.reactive.figures) == pytest.approx(2 * 1.55 + 3 * 3 + 0.5 * 3600)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"minimum": 5, "maximum": 4}, "minimum <= maximum"),
        ({"pod_capacity": 0.0}, "pod_capacity: expected more than 0"),
        ({"target": 1.2}, "target: expected a share"),
        ({"sync_seconds": 0.0}, "sync_seconds: expected more than 0"),
        ({"ready_seconds": -1.0}, "expected 0 or more"),
        ({"pod_capacity": 0.0001}, "it counts thousandths"),
    ],
)
def test_numbers_that_make_no_hpa_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SETUP, **changes)


def test_what_can_not_be_simulated_is_refused() -> None:
    with pytest.raises(ValueError, match="were not replayed"):
        simulate(STAIR, known(STAIR), [Choice(4, 0.9)], SETUP)
    with pytest.raises(ValueError, match="no forecast"):
        run(STAIR, replayed(STAIR, np.full(STAIR.length, np.nan)))
    with pytest.raises(ValueError, match="falls to -1"):
        run(load_of([1.0, -1.0, 2.0]), silent(load_of([1.0, -1.0, 2.0])))


def test_the_average_value_is_that_of_a_manifest_to_the_thousandth() -> None:
    assert Setup(1.5 / 0.7, 0.7).average == 1500
    assert Setup(0.1 / 0.3, 0.3).average == 100
