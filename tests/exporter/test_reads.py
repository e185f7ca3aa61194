"""Reads that hang, are slow, fail, or are asked for by many at once."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cloudpulse.testing import FakeClock
from exporter.reads import Outcome, Reads

LONG = 20.0
"""Seconds that no test waits for."""


class _Source:
    """Answers how often it was asked, once it may."""

    def __init__(self, *, held: bool = False) -> None:
        self.calls = 0
        self.begun = threading.Event()
        self.go = threading.Event()
        if not held:
            self.go.set()

    def __call__(self) -> int:
        self.calls += 1
        call = self.calls
        self.begun.set()
        assert self.go.wait(LONG)
        return call


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _threads(title: str) -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == title]


def test_every_source_is_read_in_order() -> None:
    order: list[str] = []
    outcomes = Reads[None]("a").read({name: (lambda name=name: order.append(name)) for name in "bca"}, LONG)
    assert order == list(outcomes) == ["b", "c", "a"]
    assert all(outcome.error is None for outcome in outcomes.values())


def test_an_error_belongs_to_its_source() -> None:
    def fail() -> int:
        raise OSError("no such device")

    outcomes = Reads[int]("a").read({"bad": fail, "good": _Source()}, LONG)
    assert str(outcomes["bad"].error) == "no such device"
    assert outcomes["good"].value == 1


def test_what_hangs_does_not_hold_up_what_stands_behind_it() -> None:
    held = [_Source(held=True) for _ in range(3)]
    works: dict[str, Callable[[], int]] = {f"held{i}": source for i, source in enumerate(held)}
    reads = Reads[int]("behind")
    outcomes = reads.read({**works, "good": _Source()}, 0.5)
    assert outcomes["good"].value == 1
    assert [isinstance(outcome.error, TimeoutError) for outcome in outcomes.values()] == [True, True, True, False]
    start = time.monotonic()
    for _ in range(20):
        assert reads.read({**works, "good": _Source()}, LONG)["good"].error is None
    assert time.monotonic() - start < LONG / 2
    assert [source.calls for source in held] == [1, 1, 1]
    assert len(_threads("behind")) == 4
    for source in held:
        source.go.set()
    _until(lambda: len(_threads("behind")) == 1)
    assert [outcome.value for outcome in reads.read(works, LONG).values()] == [2, 2, 2]


def test_what_is_slow_is_waited_for_while_there_is_time() -> None:
    slow = _Source(held=True)
    threading.Timer(0.3, slow.go.set).start()
    outcomes = Reads[int]("a").read({"slow": slow, "good": _Source()}, LONG)
    assert [outcome.value for outcome in outcomes.values()] == [1, 1]
    assert outcomes["slow"].seconds > 0.2


def test_in_normal_times_one_thread_reads_everything() -> None:
    reads = Reads[int]("one")
    for _ in range(50):
        reads.read({name: _Source() for name in "abc"}, LONG)
    assert len(_threads("one")) == 1


def test_a_read_is_shared_for_a_while_and_no_longer() -> None:
    clock, source = FakeClock(100.0), _Source()
    reads = Reads[int]("a", 0.1, clock)
    for now, value in ((100.0, 1), (100.05, 1), (100.1, 1), (100.11, 2), (100.2, 2), (100.3, 3)):
        clock.now = now
        assert reads.read({"a": source}, LONG)["a"].value == value


def test_forty_at_once_share_one_read() -> None:
    source = _Source(held=True)
    reads = Reads[int]("a", 0.1, FakeClock())
    with ThreadPoolExecutor(40) as pool:
        answers = [pool.submit(reads.read, {"a": source}, LONG) for _ in range(40)]
        assert source.begun.wait(LONG)
        source.go.set()
        assert {answer.result(LONG)["a"].value for answer in answers} == {1}
    assert source.calls == 1


def test_who_comes_later_gets_a_read_that_began_later_and_never_two_at_a_time() -> None:
    clock, source = FakeClock(100.0), _Source(held=True)
    reads = Reads[int]("a", 0.1, clock)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(reads.read, {"a": source}, LONG)
        assert source.begun.wait(LONG)
        clock.now = 101.0
        later = [pool.submit(reads.read, {"a": source}, LONG) for _ in range(2)]
        _until(lambda: "a" in reads._next)
        assert source.calls == 1
        source.go.set()
        assert first.result(LONG)["a"].value == 1
        assert [answer.result(LONG)["a"].value for answer in later] == [2, 2]


def test_a_late_answer_is_for_nobody() -> None:
    clock, source = FakeClock(100.0), _Source(held=True)
    reads = Reads[int]("a", 0.1, clock)
    assert isinstance(reads.read({"a": source}, 0.01)["a"].error, TimeoutError)
    clock.now = 142.0
    refused = reads.read({"a": source}, LONG)["a"]
    assert (refused.seconds, str(refused.error)) == (42.0, "no answer for 42 s, and not asked again until there is one")
    source.go.set()
    _until(lambda: reads._last["a"].outcome is not None)
    assert reads.read({"a": source}, LONG)["a"].value == 2


def test_another_function_for_the_same_source_is_another_read() -> None:
    reads = Reads[int]("a", 0.1, FakeClock())
    assert reads.read({"a": _Source()}, LONG)["a"].value == 1
    source = _Source()
    assert reads.read({"a": source}, LONG)["a"].value == 1
    assert source.calls == 1


def test_sources_that_are_gone_are_forgotten() -> None:
    clock = FakeClock()
    reads = Reads[int]("a", 0.1, clock)
    for i in range(100):
        reads.read({f"mount{i}": _Source()}, LONG)
        clock.advance(1)
    assert len(reads._last) == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_pipe_that_nobody_writes_to_is_given_up_and_read_once_somebody_does(tmp_path: Path) -> None:
    pipe = tmp_path / "metrics.prom"
    os.mkfifo(pipe)
    reads = Reads[str]("a")

    def read() -> dict[str, Outcome[str]]:
        return reads.read({"pipe": pipe.read_text, "file": Path(__file__).read_text}, 0.2)

    outcomes = read()
    assert isinstance(outcomes["pipe"].error, TimeoutError)
    assert outcomes["file"].error is None
    pipe.write_text("too late")  # opening it ends the first read
    pipe.unlink()
    pipe.write_text("now")
    _until(lambda: read()["pipe"].value is not None)
    assert read()["pipe"].value == "now"
