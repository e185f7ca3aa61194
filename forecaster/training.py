"""Training on an executor, so that serving never waits for it and never imports torch."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Literal

from cloudpulse import logs, trace
from cloudpulse.clock import Clock
from cloudpulse.errors import WorkersUnavailable
from cloudpulse.trace import Trace
from forecaster.frame import Frame
from forecaster.localtime import UTC, Calendar
from forecaster.model import State
from forecaster.models import fit

_RETRY_SECONDS = 60.0
"""How soon an executor that could not be had is asked for again."""
_END_SECONDS = 2.0
"""How long the end of terminated workers is waited for."""

log = logs.get(__name__)


def train(
    history: Frame,
    models: Literal["auto"] | tuple[str, ...],
    horizon: int,
    calendar: Calendar,
    place: Trace | None = None,
) -> State:
    """Fit `models` on the series of one part; runs in a worker. Only plain data goes in and out.

    `place` is where the round is that handed it out.
    """
    with trace.within(place):
        return fit(models, calendar, history, horizon).state()


class Trainer:
    """Hands at most `workers` trainings at a time to an executor made by `make`; a dead one is replaced.

    For several threads.
    """

    def __init__(self, make: Callable[[], Executor], workers: int, clock: Clock) -> None:
        self._make = make
        self._clock = clock
        self._executor: Executor | None = None
        self._free = threading.Semaphore(workers)
        self._retry_at = -math.inf
        self._lock = threading.Lock()

    def submit(
        self,
        history: Callable[[], Frame],
        models: Literal["auto"] | tuple[str, ...],
        horizon: int,
        calendar: Calendar = UTC,
    ) -> Future[State] | None:
        """Train in the background; None when no worker is free, and then `history` is not called.

        Raises WorkersUnavailable, once a minute while it is so.
        """
        if self._clock() < self._retry_at or not self._free.acquire(blocking=False):
            return None
        try:
            with self._lock:
                future = self._submitted(history(), models, horizon, calendar)
        except BaseException as error:
            self._free.release()
            if isinstance(error, WorkersUnavailable):
                self._retry_at = self._clock() + _RETRY_SECONDS
            raise
        future.add_done_callback(lambda _: self._free.release())
        return future

    def close(self) -> None:
        """Drop what has not begun and end the workers.

        A training under way is not waited for: a stop has 10 s, and the next start trains again.
        """
        with self._lock:
            self._drop()

    def _submitted(
        self, history: Frame, models: Literal["auto"] | tuple[str, ...], horizon: int, calendar: Calendar
    ) -> Future[State]:
        if self._executor is not None:
            try:
                return self._executor.submit(train, history, models, horizon, calendar, trace.current())
            except Exception as error:  # noqa: BLE001  an executor's own, whichever it is
                log.error("training workers are lost (out of memory?); others are taken", error=repr(error))
                self._drop()
        self._executor = self._make()
        return self._executor.submit(train, history, models, horizon, calendar, trace.current())

    def _drop(self) -> None:
        if self._executor is None:
            return
        workers = dict(getattr(self._executor, "_processes", None) or {})
        manager = getattr(self._executor, "_executor_manager_thread", None)
        self._executor.shutdown(wait=False, cancel_futures=True)
        for worker in workers.values():
            worker.terminate()
        if manager is not None:
            # At exit Python 3.11 wakes it without a lock: one that is just ending makes that "Bad file descriptor".
            manager.join(_END_SECONDS)
        self._executor = None
