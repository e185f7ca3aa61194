"""Rounds in real threads, with pipelines that do as they are told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from prometheus_client.core import CollectorRegistry

from cloudpulse import logs, trace
from cloudpulse.durations import Duration
from cloudpulse.errors import SourceUnavailable
from cloudpulse.testing import FakeClock, captured_logs
from forecaster.config import Target
from forecaster.meters import Meters
from forecaster.rounds import HISTORY_SECONDS, RETRY_SECONDS, STOP_SECONDS, Cadence, Rounds
from forecaster.store import ForecastStore


class Scripted:
    """Counts its rounds; `do` may raise or block."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.training = False
        self.done = 0
        self.saved = 0
        self.histories_saved = 0
        self.closed = False
        self.do: Callable[[], None] = lambda: None
        self.train: Callable[[], bool] = lambda: False

    def load(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        self.closed = True

    def round(self) -> None:
        self.done += 1
        self.do()

    def save(self) -> None:
        self.saved += 1

    def save_history(self) -> None:
        self.histories_saved += 1


@pytest.fixture
def made() -> dict[str, Scripted]:
    return {}


@pytest.fixture(autouse=True)
def every_log_line() -> None:
    """Another test may have left a higher log level behind."""
    logs.configure("info")


@pytest.fixture
def rounds(made: dict[str, Scripted]) -> Any:
    def make(target: Target) -> Any:
        pipeline = Scripted(target)
        if target.name in made:
            before = made[target.name]
            pipeline.do, pipeline.train, pipeline.training = before.do, before.train, before.training
        made[target.name] = pipeline
        return pipeline

    built = Rounds(make, ForecastStore(time.time), Meters(CollectorRegistry()), time.time)
    yield built
    built.close()


def target(name: str, query: str = "q") -> Target:
    """Its rounds come ten times as often as a config may ask for."""
    made = Target(name=name, query=query, every=Duration(1), step=Duration(1), horizons=(Duration(10),))
    msgspec.structs.force_setattr(made, "every", Duration(0.1))
    return made


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_target_that_blocks_delays_no_other(rounds: Rounds, made: dict[str, Scripted]) -> None:
    block = threading.Event()
    rounds.apply([target("slow"), target("quick")])
    made["slow"].do = lambda: block.wait() and None
    until(lambda: made["quick"].done >= 3)
    assert made["slow"].done <= 2
    block.set()


def test_all_of_a_round_belongs_to_one_trace_of_its_own(rounds: Rounds, made: dict[str, Scripted]) -> None:
    traces: list[str] = []
    made["a"] = Scripted(target("a"))
    made["a"].do = lambda: traces.append(trace.identifier())
    rounds.apply([target("a")])
    until(lambda: len(traces) >= 2)
    assert all(len(one) == 32 for one in traces)
    assert len(set(traces)) == len(traces)


def test_an_error_is_told_once_and_so_is_its_end(rounds: Rounds, made: dict[str, Scripted]) -> None:
    failing = Scripted(target("a"))

    def fail() -> None:
        raise SourceUnavailable("Prometheus is not reached")

    failing.do = fail
    made["a"] = failing
    with captured_logs() as lines:
        rounds.apply([target("a")])
        until(lambda: made["a"].done >= 2)
        assert rounds.states() == {"a": "Prometheus is not reached"}
        made["a"].do = lambda: None
        until(lambda: rounds.states() == {"a": "starting"})
    events = [(line["event"], line["level"]) for line in lines]
    assert events == [("round failed", "error"), ("round works again", "info")]


def test_a_bug_in_one_target_is_counted_and_the_others_go_on(rounds: Rounds, made: dict[str, Scripted]) -> None:
    rounds.apply([target("a"), target("b")])

    def bug() -> None:
        raise ZeroDivisionError

    made["a"].do = bug
    until(lambda: rounds.states()["a"] == "ZeroDivisionError()")
    seen = made["b"].done
    until(lambda: made["b"].done > seen)


def test_a_reload_touches_only_what_changed(rounds: Rounds, made: dict[str, Scripted]) -> None:
    rounds.apply([target("stays"), target("changes"), target("goes")])
    before = dict(made)
    rounds.apply([target("stays"), target("changes", "other"), target("comes")])
    assert made["stays"] is before["stays"]
    assert made["changes"] is not before["changes"]
    until(lambda: before["changes"].saved == before["goes"].saved == 1)
    assert set(rounds.states()) == {"stays", "changes", "comes"}


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop takes a second at most."""
    monkeypatch.setattr("forecaster.rounds.STOP_SECONDS", 1.0)
    monkeypatch.setattr("forecaster.rounds.HISTORY_SECONDS", 0.5)


def test_a_stop_does_not_wait_for_rounds_that_hang(soon: None, made: dict[str, Scripted], rounds: Rounds) -> None:
    block, entered = threading.Event(), threading.Semaphore(0)

    def hang() -> None:
        entered.release()
        block.wait()

    rounds.apply([target(name) for name in ("a", "b", "c")])
    for pipeline in made.values():
        pipeline.do = hang
    for _ in made:
        assert entered.acquire(timeout=10)
    stop = threading.Thread(target=rounds.close, daemon=True)
    stop.start()
    stop.join(30)
    assert not stop.is_alive()
    block.set()


def test_a_stop_leaves_a_margin_in_the_10_seconds_that_are_promised() -> None:
    assert HISTORY_SECONDS < STOP_SECONDS <= 8


@pytest.fixture
def blocked(rounds: Rounds, made: dict[str, Scripted]) -> Iterator[tuple[Scripted, threading.Event]]:
    """The target `a`, in a round that goes on until the event is set."""
    block, entered = threading.Event(), threading.Event()

    def hang() -> None:
        entered.set()
        block.wait()

    made["a"] = Scripted(target("a"))
    made["a"].do = hang
    rounds.apply([target("a")])
    assert entered.wait(10)
    yield made["a"], block
    block.set()


def test_a_target_that_is_changed_in_a_round_publishes_no_more_and_its_successor_waits_for_it(
    rounds: Rounds, made: dict[str, Scripted], blocked: tuple[Scripted, threading.Event]
) -> None:
    """Both use the same folders."""
    old, block = blocked
    made["a"].do = lambda: None
    rounds.apply([target("a", "other")])
    assert old.closed
    assert made["a"] is not old
    assert rounds.states() == {"a": "starting"}
    time.sleep(0.5)
    assert made["a"].done == 0
    block.set()
    until(lambda: made["a"].done > 0)
    assert old.saved == 1
    assert old.histories_saved == 0


def test_a_successor_that_never_began_leaves_what_is_saved_alone(
    rounds: Rounds, made: dict[str, Scripted], blocked: tuple[Scripted, threading.Event]
) -> None:
    old, block = blocked
    rounds.apply([target("a", "other")])
    never = made["a"]
    rounds.apply([target("a", "third")])
    block.set()
    until(lambda: made["a"].done > 0)
    assert never.done == never.saved == 0
    assert old.saved == 1


def test_of_a_round_that_does_not_end_the_history_is_saved(
    soon: None, rounds: Rounds, blocked: tuple[Scripted, threading.Event]
) -> None:
    old, _ = blocked
    rounds.close()
    assert (old.saved, old.histories_saved) == (0, 1)


def test_one_target_that_can_not_be_saved_keeps_no_other_from_it(rounds: Rounds, made: dict[str, Scripted]) -> None:
    rounds.apply([target("a"), target("b")])

    def bug() -> None:
        raise ZeroDivisionError

    made["a"].save = bug  # type: ignore[method-assign]  # a fake
    with captured_logs() as lines:
        rounds.close()
    assert made["b"].saved == 1
    assert [line["forecast"] for line in lines if line["event"] == "not saved"] == ["a"]


def test_nothing_starts_after_the_stop(rounds: Rounds, made: dict[str, Scripted]) -> None:
    rounds.close()
    rounds.apply([target("a")])
    assert not made


def test_a_bug_in_loading_stops_no_rounds(rounds: Rounds, made: dict[str, Scripted], monkeypatch: Any) -> None:
    def bug(_: Scripted) -> None:
        raise KeyError("facts")

    monkeypatch.setattr(Scripted, "load", bug)
    rounds.apply([target("a")])
    until(lambda: made["a"].done >= 2)


def test_a_clock_that_is_set_back_delays_no_round() -> None:
    back = [0.0]
    pipeline = Scripted(target("a"))
    clock = lambda: time.time() - back[0]  # noqa: E731
    made: Any = pipeline
    rounds = Rounds(lambda _: made, ForecastStore(clock), Meters(CollectorRegistry()), clock)
    rounds.apply([target("a")])
    try:
        until(lambda: pipeline.done >= 1)
        back[0] = 3600.0
        seen = pipeline.done
        until(lambda: pipeline.done >= seen + 3)
    finally:
        rounds.close()


def test_trainings_are_looked_after_between_rounds_and_new_models_get_a_round_of_their_own(
    rounds: Rounds, made: dict[str, Scripted]
) -> None:
    rare = Target(name="rare", query="q", every=Duration(3600), step=Duration(1), horizons=(Duration(10),))
    made["rare"] = Scripted(rare)
    looked = threading.Event()

    def train() -> bool:
        ended = looked.is_set()
        looked.set()
        made["rare"].training = not ended
        return ended

    made["rare"].training, made["rare"].train = True, train
    rounds.apply([rare])
    until(lambda: made["rare"].done == 2)
    assert not made["rare"].training


def test_a_bug_in_training_stops_no_rounds(rounds: Rounds, made: dict[str, Scripted]) -> None:
    def bug() -> bool:
        raise ZeroDivisionError

    made["a"] = Scripted(target("a"))
    made["a"].training, made["a"].train = True, bug
    rounds.apply([target("a")])
    until(lambda: made["a"].done >= 3)


def test_rounds_keep_their_times() -> None:
    cadence = Cadence(60, due=0)
    assert cadence.ended(10, failed=False) == 0
    assert cadence.due == 60
    assert cadence.ended(60 + 60, failed=False) == 0
    assert cadence.due == 120


def test_rounds_that_a_slow_one_ran_into_are_left_out_and_not_made_up_for() -> None:
    cadence = Cadence(60, due=0)
    assert cadence.ended(150, failed=False) == 2
    assert cadence.due == 180


def test_a_round_before_its_time_moves_nothing() -> None:
    cadence = Cadence(60, due=0)
    cadence.ended(1, failed=False)
    assert cadence.ended(30, failed=False) == 0
    assert cadence.due == 60


def test_a_failed_round_is_tried_again_soon() -> None:
    cadence = Cadence(60, due=0)
    assert cadence.ended(2, failed=True) == 0
    assert cadence.due == 2 + RETRY_SECONDS


def test_rounds_left_out_are_counted() -> None:
    registry, clock = CollectorRegistry(), FakeClock()
    pipeline = Scripted(target("a"))

    def slow_once() -> None:
        clock.advance(0.25)
        pipeline.do = lambda: None

    pipeline.do = slow_once
    made: Any = pipeline
    rounds = Rounds(lambda _: made, ForecastStore(clock), Meters(registry), clock)
    rounds.apply([target("a")])
    try:
        until(lambda: registry.get_sample_value("cloudpulse_forecaster_rounds_skipped_total", {"forecast": "a"}) == 2)
    finally:
        rounds.close()
