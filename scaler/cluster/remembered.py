"""Answers of the Kubernetes API remembered for a few seconds, each asked for once at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

from cloudpulse.clock import Clock
from scaler.cluster.api import ClusterUnavailable

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Turns:
    """How many threads may wait for the Kubernetes API; one for all that callers of one sort may ask."""

    def __init__(self, most: int) -> None:
        self._free = threading.BoundedSemaphore(most)

    def __enter__(self) -> None:
        if not self._free.acquire(blocking=False):
            waiting = "too many requests wait for the Kubernetes API already: ask again"
            raise ClusterUnavailable(waiting, waiting)

    def __exit__(self, *_: object) -> None:
        self._free.release()


class Remembered(Generic[K, V]):
    """Answers by key, none older than `seconds`, at most `most` of them. For several threads.

    Who asks while the same is being asked waits for that answer. A failure is raised to all who wait, and not kept.
    `clock` must not jump. Waiting takes one of `turns`; without one, ClusterUnavailable is raised at once.
    """

    def __init__(self, seconds: float, most: int, clock: Clock, turns: Turns) -> None:
        self._turns = turns
        self._seconds = seconds
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: dict[K, tuple[float, V]] = {}
        self._asked: dict[K, Future[V]] = {}

    def get(self, key: K, ask: Callable[[], V]) -> V:
        """The answer for `key`; raises what `ask` raises."""
        with self._lock:
            kept = self._answers.get(key)
        if kept is not None and self._clock() < kept[0]:
            return kept[1]
        with self._turns:
            return self._asked_once(key, ask)

    def _asked_once(self, key: K, ask: Callable[[], V]) -> V:
        with self._lock:
            under_way = self._asked.get(key)
            if under_way is None:
                mine = self._asked[key] = Future()
        if under_way is not None:
            return under_way.result()
        try:
            asked_at = self._clock()
            answer = ask()
        except BaseException as error:
            with self._lock:
                del self._asked[key]
            mine.set_exception(error)
            raise
        with self._lock:
            del self._asked[key]
            self._keep(key, asked_at + self._seconds, answer)
        mine.set_result(answer)
        return answer

    def _keep(self, key: K, until: float, answer: V) -> None:
        self._answers.pop(key, None)
        now = self._clock()
        while self._answers:  # the oldest is the first
            oldest = next(iter(self._answers))
            if len(self._answers) < self._most and now < self._answers[oldest][0]:
                break
            del self._answers[oldest]
        self._answers[key] = until, answer
