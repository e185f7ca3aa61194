"""Training in a process of its own, so that serving never waits for it and never imports torch."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from typing import Literal

from cloudpulse import logs
from forecaster.frame import Frame
from forecaster.localtime import Calendar
from forecaster.model import State
from forecaster.models import build

log = logs.get(__name__)


def train(history: Frame, models: Literal["auto"] | tuple[str, ...], horizon: int, calendar: Calendar) -> State:
    """Fit `models` on `history`; runs in the worker process. Only plain data goes in and out."""
    return build(models, calendar).fit(history, horizon).state()


def process_pool(workers: int = 1) -> Executor:
    """The default executor. `spawn`, since a fork of a process with threads can deadlock."""
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_be_modest)


class Trainer:
    """Hands training to an executor made by `make`, and makes a new one when its workers died."""

    def __init__(self, make: Callable[[], Executor] = process_pool) -> None:
        self._make = make
        self._executor = make()
        self._lock = threading.Lock()

    def submit(
        self, history: Frame, models: Literal["auto"] | tuple[str, ...], horizon: int, calendar: Calendar
    ) -> Future[State]:
        """Train in the background."""
        with self._lock:
            try:
                return self._executor.submit(train, history, models, horizon, calendar)
            except BrokenExecutor:
                log.error("a training worker died (out of memory?); starting another")
                self._executor.shutdown(wait=False)
                self._executor = self._make()
                return self._executor.submit(train, history, models, horizon, calendar)

    def close(self) -> None:
        """Drop what has not begun and end the workers.

        A training under way is not waited for: a stop has 10 s, and the next start trains again.
        """
        workers = dict(getattr(self._executor, "_processes", None) or {})
        self._executor.shutdown(wait=False, cancel_futures=True)
        for worker in workers.values():
            worker.terminate()


def _be_modest() -> None:
    """Serving comes first on a busy machine; libraries keep to one thread (2 can be 20x slower under load)."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    if hasattr(os, "nice"):
        os.nice(10)
