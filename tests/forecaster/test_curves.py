"""Which paths are selected, and what of them."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cloudpulse.matcher import Matcher
from cloudpulse.testing import FakeClock
from forecaster.curves import NAME, Block, Curves
from forecaster.store import ForecastStore
from forecaster.testing import issue

NOW = 1_700_000_040.0
EVER = (-1e16, 1e16)
CURVE = Matcher("__name__", "=", NAME)
APPS = ({"app": "a", "zone": "x"}, {"app": "b", "zone": "y"}, {"app": "c"})


def paths(series: int, steps: int = 4, levels: int = 3) -> np.ndarray:
    """100 a series, 10 a step, 1 a level."""
    s, t, k = np.ogrid[:series, :steps, :levels]
    return 100.0 * s + 10 * t + k


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
def store(clock: FakeClock) -> ForecastStore:
    store = ForecastStore(clock)
    store.put(issue("web", APPS, paths(3), start=NOW))
    return store


def selected(store: ForecastStore, *matchers: Matcher) -> set[tuple[str, str]]:
    """App and level of each path."""
    blocks = Curves(store).select(matchers, *EVER)
    return {(one.get("app", ""), one["level"]) for block in blocks for one in block.labels}


def apps(store: ForecastStore, *matchers: Matcher) -> str:
    return "".join(sorted(app for app, _ in selected(store, Matcher("level", "=", "0.5"), *matchers)))


def test_a_path_has_the_labels_of_its_source_and_ours_and_its_times(store: ForecastStore) -> None:
    (block,) = Curves(store).select([CURVE, Matcher("level", "=", "0.9"), Matcher("app", "=", "b")], *EVER)
    assert block.labels == [{"__name__": NAME, "forecast": "web", "level": "0.9", "app": "b", "zone": "y"}]
    assert block.times.tolist() == [NOW, NOW + 60, NOW + 120, NOW + 180]
    assert block.values.tolist() == [[102, 112, 122, 132]]


@pytest.mark.parametrize(
    ("operator", "value", "found"),
    [
        ("=", "a", "a"),
        ("=", "nobody", ""),
        ("!=", "a", "bc"),
        ("!=", "nobody", "abc"),
        ("=~", "a|c", "ac"),
        ("=~", "a.", ""),
        ("=~", ".*", "abc"),
        ("!~", "a|c", "b"),
        ("!~", ".+", ""),
    ],
)
def test_all_four_kinds_of_matchers_select(store: ForecastStore, operator: str, value: str, found: str) -> None:
    assert apps(store, Matcher("app", operator, value)) == found


@pytest.mark.parametrize(
    ("operator", "value", "found"),
    [
        ("=", "", "c"),
        ("!=", "", "ab"),
        ("!=", "x", "bc"),
        ("=~", "|x", "ac"),
        ("=~", ".+", "ab"),
        ("!~", "x", "bc"),
        ("!~", "x|", "b"),
    ],
)
def test_a_label_that_a_series_has_not_is_empty(store: ForecastStore, operator: str, value: str, found: str) -> None:
    assert apps(store, Matcher("zone", operator, value)) == found


@pytest.mark.parametrize(
    ("matcher", "found"),
    [
        (Matcher("nowhere", "=", ""), "abc"),
        (Matcher("nowhere", "!=", ""), ""),
        (Matcher("nowhere", "=~", "x?"), "abc"),
        (Matcher("nowhere", "!~", "x?"), ""),
    ],
)
def test_a_label_that_nobody_has_is_empty(store: ForecastStore, matcher: Matcher, found: str) -> None:
    assert apps(store, matcher) == found


@pytest.mark.parametrize("name", ["__name__", "forecast", "level"])
def test_matchers_of_all_kinds_apply_to_labels_of_ours(store: ForecastStore, name: str) -> None:
    value = {"__name__": NAME, "forecast": "web", "level": "0.5"}[name]
    assert "abc" == apps(store, Matcher(name, "=", value)) == apps(store, Matcher(name, "=~", f".*|{value}"))
    assert "abc" == apps(store, Matcher(name, "!=", "other")) == apps(store, Matcher(name, "!~", "other|"))
    assert apps(store, Matcher(name, "!=", value)) == apps(store, Matcher(name, "!~", value)) == ""
    assert apps(store, Matcher(name, "=", "other")) == apps(store, Matcher(name, "=~", "o.*")) == ""
    assert apps(store, Matcher(name, "=", "")) == ""


def test_every_matcher_must_be_fulfilled(store: ForecastStore) -> None:
    assert apps(store, Matcher("app", "=~", "a|b"), Matcher("app", "!=", "a"), Matcher("zone", "=", "y")) == "b"
    assert apps(store, Matcher("app", "=", "a"), Matcher("zone", "=", "y")) == ""


def test_both_ends_of_the_time_range_are_included(store: ForecastStore) -> None:
    curves = Curves(store)

    def times(start: float, end: float) -> list[float]:
        return [t - NOW for block in curves.select([Matcher("level", "=", "0.5")], start, end) for t in block.times]

    assert times(NOW + 60, NOW + 120) == [60, 120]
    assert times(NOW + 60.001, NOW + 119.999) == []
    assert times(NOW - 999, NOW) == [0]
    assert times(NOW + 181, NOW + 9999) == []
    assert times(NOW + 120, NOW + 60) == []
    assert times(-9223372036854775.808, 9223372036854775.807) == [0, 60, 120, 180]


def test_a_stale_forecast_is_absent(store: ForecastStore, clock: FakeClock) -> None:
    clock.advance(301)
    assert Curves(store).select([CURVE], *EVER) == []


def test_levels_that_are_predicted_but_not_configured_are_absent(store: ForecastStore) -> None:
    store.put(issue("web", APPS, paths(3), start=NOW, shown=(0.1, 0.9)))
    assert {level for _, level in selected(store)} == {"0.1", "0.9"}


def test_a_path_without_any_sample_in_the_range_is_left_out(store: ForecastStore) -> None:
    values = paths(3)
    values[0] = np.nan
    values[1, 0] = np.nan
    store.put(issue("web", APPS, values, start=NOW))
    (block,) = Curves(store).select([Matcher("level", "=", "0.5")], *EVER)
    assert [one["app"] for one in block.labels] == ["b", "c"]
    assert np.isnan(block.values[0]).tolist() == [True, False, False, False]
    (block,) = Curves(store).select([Matcher("level", "=", "0.5")], NOW, NOW)
    assert [one["app"] for one in block.labels] == ["c"]


@pytest.mark.parametrize(("step", "apart"), [(300, 300), (301, 150.5), (900, 300), (3600, 300)])
def test_steps_longer_than_prometheus_looks_back_have_points_between(
    store: ForecastStore, step: float, apart: float
) -> None:
    store.put(issue("web", APPS, paths(3), start=NOW, step=step))
    (block,) = Curves(store).select([Matcher("level", "=", "0.5")], *EVER)
    assert np.diff(block.times).tolist() == [apart] * (len(block.times) - 1)
    assert block.times[-1] == NOW + 3 * step
    straight = 101 + 10 * (block.times - NOW) / step
    np.testing.assert_allclose(block.values[1], straight, rtol=1e-12)


def test_no_point_lies_between_a_value_and_a_gap(store: ForecastStore) -> None:
    values = paths(1)
    values[0, 2] = np.nan
    store.put(issue("web", APPS[:1], values, start=NOW, step=600))
    (block,) = Curves(store).select([Matcher("level", "=", "0.1")], *EVER)
    np.testing.assert_array_equal(block.values[0], [0, 5, 10, np.nan, np.nan, np.nan, 30])


def test_a_part_of_a_densified_path_is_as_the_whole(store: ForecastStore) -> None:
    store.put(issue("web", APPS, paths(3), start=NOW, step=900))
    (whole,) = Curves(store).select([Matcher("level", "=", "0.5")], *EVER)
    (part,) = Curves(store).select([Matcher("level", "=", "0.5")], NOW + 300, NOW + 1200)
    assert part.times.tolist() == whole.times[1:5].tolist()
    assert part.values.tolist() == whole.values[:, 1:5].tolist()


def with_newest(store: ForecastStore, newest: list[float], **changes: Any) -> list[Block]:
    """The blocks of the median, when these are the newest values."""
    values = paths(3)
    values[2] = np.nan
    store.put(replace(issue("web", APPS, values, start=NOW + 60, issued_at=NOW, **changes), observed=np.array(newest)))
    return Curves(store).select([Matcher("level", "=", "0.5")], *EVER)


def test_a_path_begins_with_the_newest_value_so_that_it_joins_the_actual(store: ForecastStore) -> None:
    (block,) = with_newest(store, [7.0, np.nan, 9.0])
    assert block.times.tolist() == [NOW, NOW + 60, NOW + 120, NOW + 180, NOW + 240]
    np.testing.assert_array_equal(block.values[0], [7, 1, 11, 21, 31])
    np.testing.assert_array_equal(block.values[1], [np.nan, 101, 111, 121, 131])


def test_a_series_that_is_not_forecast_has_no_curve_whatever_its_newest_value(store: ForecastStore) -> None:
    (block,) = with_newest(store, [7.0, 8.0, 9.0])
    assert [one["app"] for one in block.labels] == ["a", "b"]


def test_a_long_step_leads_on_a_straight_line_from_the_newest_value(store: ForecastStore) -> None:
    (block,) = with_newest(store, [7.0, 8.0, np.nan], step=900)
    assert (block.times[:5] - NOW - 60).tolist() == [-900, -600, -300, 0, 300]
    np.testing.assert_allclose(block.values[0, :5], [7, 5, 3, 1, 1 + 10 / 3])
    (part,) = Curves(store).select([Matcher("level", "=", "0.5")], NOW + 60 - 400, NOW + 60 + 300)
    np.testing.assert_allclose(part.values[0], [3, 1, 1 + 10 / 3])


def test_a_block_is_told_before_it_is_made(store: ForecastStore) -> None:
    told: list[tuple[int, int]] = []

    def hold(*size: int) -> None:
        told.append(size)
        if len(told) == 2:
            raise MemoryError

    with pytest.raises(MemoryError):
        Curves(store).select([Matcher("app", "!=", "a")], NOW + 60, NOW + 1e9, hold)
    assert told == [(2, 3), (2, 3)]


def test_what_is_listed_is_what_has_samples(store: ForecastStore) -> None:
    with_newest(store, [7.0, 8.0, 9.0])
    curves = Curves(store)
    listed = list(curves.listed([Matcher("app", "=~", "b|c")]))
    assert listed == [one for block in curves.select([Matcher("app", "=~", "b|c")], *EVER) for one in block.labels]
    assert list(curves.listed([Matcher("__name__", "=", "other")])) == []


def test_each_forecast_has_its_own_block(store: ForecastStore) -> None:
    store.put(issue("db", ({"app": "a"},), paths(1), start=NOW))
    blocks = Curves(store).select([CURVE, Matcher("app", "=", "a"), Matcher("level", "!=", "0.1")], *EVER)
    assert [(one["forecast"], one["level"]) for block in blocks for one in block.labels] == [
        ("db", "0.5"),
        ("db", "0.9"),
        ("web", "0.5"),
        ("web", "0.9"),
    ]


def test_other_series_of_a_target_are_found_at_once(store: ForecastStore) -> None:
    """The index is kept, but not beyond what it is of."""
    curves = Curves(store)

    def found() -> list[str]:
        return [one["app"] for block in curves.select([Matcher("app", "=~", "[ab]")], *EVER) for one in block.labels]

    assert found() == ["a", "b"] * 3
    store.put(issue("web", ({"app": "b"}, {"app": "z"}), paths(2), start=NOW))
    assert found() == ["b"] * 3
    store.put(issue("web", ({"app": "b"}, {"app": "a"}), paths(2), start=NOW))
    assert found() == ["b", "a"] * 3


def test_a_forecast_that_is_gone_leaves_no_labels_behind(store: ForecastStore) -> None:
    curves = Curves(store)
    watched = weakref.ref(curves.index_of(store.fresh()[0]))
    store.drop("web")
    assert curves.select([CURVE], *EVER) == []
    gc.collect()
    assert watched() is None
