from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from cloudpulse.shared import FRESH_SECONDS, Shared


def test_a_reading_serves_all_who_ask_within_a_tenth_of_a_second() -> None:
    now = [5.0]
    shared = Shared(itertools.count().__next__, lambda: now[0])
    readings = []
    for step in (0.0, FRESH_SECONDS * 0.9, FRESH_SECONDS * 0.2, 0.0):
        now[0] += step
        readings.append(shared())
    assert readings == [0, 0, 1, 1]


def test_an_error_is_not_kept() -> None:
    answers = iter([OSError("gone"), 7])

    def read() -> int:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    shared = Shared(read)
    with pytest.raises(OSError, match="gone"):
        shared()
    assert shared() == 7


def test_many_who_ask_at_once_cause_one_read() -> None:
    started, reads = threading.Event(), []

    def read() -> int:
        reads.append(threading.get_ident())
        started.wait(10)
        return 1

    shared = Shared(read, lambda: 0.0)
    threads = [threading.Thread(target=shared) for _ in range(8)]
    for thread in threads:
        thread.start()
    started.set()
    for thread in threads:
        thread.join(10)
    assert len(reads) == 1


def test_who_comes_late_does_not_wait_for_a_reading_that_hangs() -> None:
    now, hung, go = [0.0], threading.Event(), threading.Event()

    def read() -> int:
        if not hung.is_set():
            hung.set()
            assert go.wait(20)
            return 1
        return 2

    shared = Shared(read, lambda: now[0])
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(shared)
        assert hung.wait(20)
        now[0] = FRESH_SECONDS
        assert shared() == 2
        go.set()
        assert first.result(20) == 1
    assert shared() == 2


def test_who_waited_for_a_reading_that_fails_reads_anew() -> None:
    begun, go, calls = threading.Event(), threading.Event(), itertools.count()

    def read() -> int:
        if call := next(calls):
            return call
        begun.set()
        assert go.wait(20)
        raise OSError("gone")

    shared = Shared(read, lambda: 0.0)
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(shared)
        assert begun.wait(20)
        others = [pool.submit(shared) for _ in range(4)]
        go.set()
        with pytest.raises(OSError, match="gone"):
            first.result(20)
        assert {other.result(20) for other in others} == {1}


def test_a_reading_is_over_when_nobody_gets_it_any_more() -> None:
    now = [0.0]
    shared = Shared(lambda: 1, lambda: now[0])
    assert not shared.over  # it has yet to begin
    shared()
    assert not shared.over
    now[0] = FRESH_SECONDS
    assert shared.over
