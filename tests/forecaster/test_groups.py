from __future__ import annotations

import itertools
import math

import pytest

from forecaster.groups import MOST, Due, due, grouped
from forecaster.shard import place

HOURS = 3600.0
EVERY = 6 * HOURS


def keys(count: int, prefix: str = "app") -> list[str]:
    return [f"app\x01{prefix}{i}" for i in range(count)]


@pytest.mark.parametrize("count", [0, 1, 150, 161, 2000, 10_000])
def test_every_series_is_in_one_group_of_at_most_200(count: int) -> None:
    groups = grouped(keys(count))
    assert sorted(key for group in groups for key in group) == sorted(keys(count))
    assert all(0 < len(group) <= MOST for group in groups)
    assert len(groups) <= max(1, count / 60), "and not in many small ones"


def test_series_that_come_and_go_move_no_other() -> None:
    before = members(keys(2000))
    after = members(keys(2000)[100:] + keys(100, "new"))
    stayed = set(keys(2000)[100:])
    assert all(before[key] & stayed == after[key] & stayed for key in stayed)


def members(names: list[str]) -> dict[str, set[str]]:
    return {key: set(group) for group in grouped(names) for key in group}


def test_without_models_everything_is_due() -> None:
    groups = grouped(keys(1000))
    assert due(groups, {}, 0.0, EVERY) == Due(groups, ())
    assert due(groups, {}, 0.0, EVERY).series == 1000


def test_models_of_the_same_age_are_soon_trained_at_times_spread_over_the_interval() -> None:
    """All trained in one go at the start; afterwards one by one, each within `every` of its last training."""
    groups = grouped(keys(1000))
    began = dict.fromkeys(keys(1000), 0.0)
    times: list[float] = []
    for minute in range(1, 3 * 360):
        now = minute * 60.0
        for group in due(groups, began, now, EVERY).groups:
            assert now - min(began[key] for key in group) <= EVERY
            began |= dict.fromkeys(group, now)
            times.append(now)
    apart = [b - a for a, b in itertools.pairwise(times)]
    assert len(times) == pytest.approx(3 * len(groups), abs=2)
    assert min(apart) >= EVERY / len(groups) - 60
    assert max(apart) <= EVERY / len(groups) + 60


def test_a_model_older_than_the_interval_is_due_at_once() -> None:
    groups = grouped(keys(1000))
    began = dict.fromkeys(keys(1000), 100 * HOURS)
    began |= dict.fromkeys(groups[2], 1.0)
    began |= dict.fromkeys(groups[1], 0.0)
    assert due(groups, began, 100 * HOURS, EVERY).groups == (groups[1], groups[2])


def test_series_without_a_model_among_others_are_parts_of_their_own() -> None:
    groups = grouped(keys(1000))
    new = [group[0] for group in groups]
    began = {key: 0.0 for key in keys(1000) if key not in new}
    waiting = due(groups, began, 1.0, EVERY)
    assert waiting.groups == ()
    assert [sorted(part) for part in waiting.newcomers] == [sorted(new)]


def test_newcomers_that_come_in_any_order_make_the_same_parts() -> None:
    groups = grouped(keys(1000))
    began = dict.fromkeys(keys(1000)[::3], 0.0)
    new = set(keys(1000)) - began.keys()
    waiting = due(groups, began, 1.0, EVERY)
    assert [key for part in waiting.newcomers for key in part] == sorted(new, key=place)
    assert due(grouped(reversed(keys(1000))), began, 1.0, EVERY) == waiting


def test_one_group_is_trained_once_an_interval() -> None:
    groups = grouped(keys(3))
    began = dict.fromkeys(keys(3), 0.0)
    assert due(groups, began, EVERY - 1, EVERY).series == 0
    assert due(groups, began, EVERY, EVERY).groups == groups
    assert due((), {}, math.inf, EVERY) == Due((), ())
