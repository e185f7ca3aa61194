"""What the shipped network learns from, and that a data set that is left out leaves no trace."""

from __future__ import annotations

import numpy as np
import pytest

from forecaster.models.grid import DAYS, Grid
from forecaster.models.lesson import Lesson
from pretraining import __main__ as pretraining
from pretraining.recorded import SOURCES, STEP, Recorded, coarser
from pretraining.windows import KINDS, Pool, lessons, plain

DAY = Grid(STEP).day


@pytest.fixture
def pool() -> Pool:
    """Three weeks of a wave of its own from every source."""
    random = np.random.default_rng(5)
    times = np.arange(21 * DAY)
    return Pool(
        [
            Recorded(
                source, STEP, 10 * (i + 1) + np.sin(2 * np.pi * times / DAY + i) + random.normal(0, 0.1, len(times))
            )
            for i, source in enumerate(SOURCES)
        ]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_is_two_weeks_and_the_day_after_and_knows_where_it_is_from(pool: Pool, kind: str) -> None:
    random = np.random.default_rng(1)
    windows = [KINDS[kind](pool, random) for _ in range(6)]
    assert all(window.past.shape == (DAYS * DAY,) and window.came.shape == (DAY,) for window in windows)
    assert {len(window.sources) for window in windows} <= {"bent": {1}, "crossed": {1, 2}, "invented": {0}}[kind]
    assert all(window.sources <= set(SOURCES) for window in windows)


def test_what_came_follows_the_past_of_the_same_series(pool: Pool) -> None:
    window = pool._drawn("web", STEP, 1, np.random.default_rng(2))
    assert window is not None
    values = next(one.values for one in pool.series if one.source == "web")
    at = int(np.flatnonzero(values == window.came[0])[0])
    np.testing.assert_array_equal(window.past[-DAY:], values[at - DAY : at])


def test_lessons_are_by_source_and_in_units_of_the_past(pool: Pool) -> None:
    random = np.random.default_rng(3)
    found = list(lessons(plain(pool, {("web", STEP): 5, ("cluster", STEP): 5}, random), random))
    assert {tuple(sources) for sources, _ in found} == {("web",), ("cluster",)}
    for _, lesson in found:
        assert np.nanmax(np.abs(lesson.came)) < 30


def test_a_coarser_grid_has_means_of_at_least_half_of_its_steps() -> None:
    np.testing.assert_array_equal(coarser(np.array([7.0, 1, 3, np.nan, np.nan, 5]), 2), [4.0, 3.0, 5.0])
    np.testing.assert_array_equal(coarser(np.array([9.0, 1, np.nan, np.nan]), 3), [np.nan])


def lesson_of(count: int) -> Lesson:
    return Lesson(**{name: np.full((count, 1), count, np.float32) for name in Lesson.__annotations__})


def test_windows_that_a_left_out_data_set_went_into_are_not_learned_from() -> None:
    kinds = [
        [(frozenset({"web"}), lesson_of(1)), (frozenset({"cluster"}), lesson_of(2))],
        [(frozenset({"web", "cluster"}), lesson_of(3)), (frozenset(), lesson_of(4))],
    ]
    kept = [pretraining.without(kind, "web") for kind in kinds]
    assert [[len(lesson.odds) for _, lesson in kind] for kind in kept] == [[2], [4]]
    assert sum(len(lesson.odds) for kind in kinds for _, lesson in pretraining.without(kind, None)) == 10


def test_kinds_are_drawn_as_often_as_they_should_be() -> None:
    one = Lesson(
        **{name: np.ones((4, 1), np.float32) for name in Lesson.__annotations__} | {"odds": np.ones(4, np.float32)}
    )
    plain_kind, bent = [(frozenset({"web"}), one)], [(frozenset({"web"}), one)]
    odds = pretraining._balanced([plain_kind, bent]).odds
    assert odds[4:].sum() == pytest.approx(pretraining.KINDS_SHARE * odds[:4].sum())


def test_a_window_without_enough_to_see_is_not_drawn() -> None:
    silent = Pool([Recorded("web", STEP, np.full(21 * DAY, np.nan))])
    assert silent._drawn("web", STEP, 1, np.random.default_rng(4)) is None
