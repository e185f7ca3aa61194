from __future__ import annotations

import itertools
import threading

import pytest

from exporter.shared import FRESH_SECONDS, Shared


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
