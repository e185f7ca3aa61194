"""What a query took is told here and not measured, so that no test depends on how fast the machine is."""

from __future__ import annotations

import pytest

from cloudpulse import pacing
from cloudpulse.pacing import GROWTH, LEAST_POINTS, REST, TARGET_SECONDS, Pace, Turns


def paced(*seconds: float, max_samples: int = 10**9) -> list[int]:
    """The lengths of pieces that take so long."""
    pace = Pace(max_samples)
    lengths = [pace.points]
    for took in seconds:
        pace.answered(pace.points, pace.points, took)
        lengths.append(pace.points)
    return lengths


def test_quick_answers_let_pieces_grow() -> None:
    assert paced(0.001, 0.001, 0.001) == [1, GROWTH, GROWTH**2, GROWTH**3]


def test_a_piece_is_as_long_as_the_target_time_allows() -> None:
    """Neither is a short piece followed by one that is foreseen to take too long."""
    assert paced(TARGET_SECONDS / 3)[-1] == 3
    assert paced(0.001, 0.001, 0.001, TARGET_SECONDS * 2)[-1] == GROWTH**3 // 2


def test_a_slow_query_is_not_cut_into_ever_smaller_pieces() -> None:
    assert paced(0.001, 0.001, 0.001, *[TARGET_SECONDS * 20] * 5)[-1] == LEAST_POINTS


def test_a_short_read_does_not_forget_how_long_a_piece_may_be() -> None:
    pace = Pace(10**9)
    for _ in range(4):
        pace.answered(pace.points, pace.points, 0.001)
    before = pace.points
    pace.answered(6, 6, 0.1)
    assert pace.points == before


def test_many_new_series_shorten_the_next_piece_at_once() -> None:
    pace = Pace(1000)
    for _ in range(4):
        pace.answered(pace.points, pace.points, 0.001)
    assert pace.points == 1000
    pace.answered(6, 600, 0.001)
    assert pace.points == 10


class FakeTime:
    """Stands for the module `time`."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_a_refusal_halves_the_pieces_for_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    time = FakeTime()
    monkeypatch.setattr(pacing, "time", time)
    pace = Pace(10**9)
    for _ in range(4):
        pace.answered(pace.points, pace.points, 0.001)
    before = pace.points
    pace.refused(100)
    pace.answered(pace.points, pace.points, 0.001)
    assert pace.points == 50
    time.now += pacing.REFUSED_SECONDS
    assert pace.points >= before


def test_prometheus_rests_between_the_pieces_of_a_long_read(monkeypatch: pytest.MonkeyPatch) -> None:
    time = FakeTime()
    monkeypatch.setattr(pacing, "time", time)
    turns = Turns()
    for took, elsewhere in ((2.0, 0.5), (1.0, 5.0), (0.5, 0.0)):
        with turns.turn():
            time.now += took
        time.now += elsewhere
    assert time.slept == [0.0, 2.0 * REST - 0.5, 0.0]


def test_a_piece_that_failed_is_followed_by_a_rest_too(monkeypatch: pytest.MonkeyPatch) -> None:
    time = FakeTime()
    monkeypatch.setattr(pacing, "time", time)
    turns = Turns()

    def fails() -> None:
        time.now += 3.0
        raise OSError("away")

    with pytest.raises(OSError, match="away"), turns.turn():
        fails()
    with turns.turn():
        pass
    assert time.slept == [0.0, 3.0 * REST]
