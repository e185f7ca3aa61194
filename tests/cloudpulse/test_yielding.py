"""Work in the background rests between its items, so that others get their turn; by a clock of its own."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from cloudpulse import yielding
from cloudpulse.yielding import REST_SECONDS, WORK_SECONDS, with_rests


class Time:
    """Goes on by work and by rests, and remembers the rests."""

    def __init__(self) -> None:
        self.now = 0.0
        self.rests: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.rests.append(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    found = Time()
    monkeypatch.setattr(yielding, "time", SimpleNamespace(monotonic=lambda: found.now, sleep=found.sleep))
    return found


def test_all_items_come_in_order_with_a_rest_after_each_stretch_of_work(clock: Time) -> None:
    seen = []
    for item in with_rests(range(8)):
        seen.append(item)
        clock.now += WORK_SECONDS / 4 + 1e-9
    assert seen == list(range(8))
    assert clock.rests == [REST_SECONDS] * 2


def test_little_work_needs_no_rest(clock: Time) -> None:
    assert list(with_rests(range(1000))) == list(range(1000))
    assert clock.rests == []


def test_those_at_work_together_rest_longer_and_one_that_stopped_counts_no_more(clock: Time) -> None:
    other = iter(with_rests(range(3)))
    next(other)
    for _ in with_rests(range(1)):
        clock.now += WORK_SECONDS
    assert clock.rests == [2 * REST_SECONDS]
    list(other)
    clock.rests.clear()
    for _ in with_rests(range(1)):
        clock.now += WORK_SECONDS
    assert clock.rests == [REST_SECONDS]
