"""When rounds happen: one thread a target, so that one slow query delays no other; reload without restart."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cloudpulse import logs
from cloudpulse.clock import Clock
from cloudpulse.errors import CloudPulseError
from forecaster.config import Target
from forecaster.meters import Meters
from forecaster.pipeline import Pipeline, reason
from forecaster.store import ForecastStore

RETRY_SECONDS = 5.0
"""How soon a failed round is tried again."""
TRAINING_SECONDS = 1.0
"""How soon it is looked whether a training has ended."""

STOP_SECONDS = 4.0
"""How long a stop waits for rounds under way, all together; a slow query ends with the process."""

log = logs.get(__name__)


@dataclass
class _Running:
    pipeline: Pipeline
    stop: threading.Event
    thread: threading.Thread
    error: str = ""


@dataclass
class Cadence:
    """When the next round of a target is due. Rounds that a slow one ran into are left out, never made up for."""

    every: float  # seconds
    due: float  # Unix seconds

    def ended(self, now: float, *, failed: bool) -> int:
        """A round ended; gives how many are left out. One before its time moves nothing; a failed one is repeated."""
        left_out = 0
        if now >= self.due:
            left_out = max(0, math.ceil((now - self.due) / self.every) - 1)
            self.due += (left_out + 1) * self.every
        if failed:
            self.due = min(self.due, now + RETRY_SECONDS)
        return left_out


class Rounds:
    """Runs a Pipeline for every target. `make` builds one; `apply` and `close` are called by one thread at a time."""

    def __init__(self, make: Callable[[Target], Pipeline], store: ForecastStore, meters: Meters, clock: Clock) -> None:
        self._make = make
        self._store = store
        self._meters = meters
        self._clock = clock
        self._running: dict[str, _Running] = {}
        self._lock = threading.Lock()

    def apply(self, targets: Sequence[Target]) -> None:
        """Start what is new, stop what is gone, restart what changed; the rest goes on undisturbed."""
        wanted = {target.name: target for target in targets}
        with self._lock:
            for name, running in list(self._running.items()):
                if wanted.get(name) != running.pipeline.target:
                    self._end(running, time.monotonic() + STOP_SECONDS)
                    del self._running[name]
                    self._store.drop(name)
            for name, target in wanted.items():
                if name not in self._running:
                    self._running[name] = self._start(target)

    def close(self) -> None:
        """Stop all and save what they know."""
        with self._lock:
            for running in self._running.values():
                running.stop.set()
            deadline = time.monotonic() + STOP_SECONDS
            for running in self._running.values():
                self._end(running, deadline)
            self._running.clear()

    def states(self) -> dict[str, str]:
        """`ok`, `starting` or the newest error, by target."""
        with self._lock:
            running = dict(self._running)
        fresh = {issue.target.name for issue in self._store.fresh()}
        return {name: one.error or ("ok" if name in fresh else "starting") for name, one in running.items()}

    def _start(self, target: Target) -> _Running:
        stop = threading.Event()
        running = _Running(self._make(target), stop, threading.Thread(name=f"round-{target.name}"))
        running.thread = threading.Thread(target=self._run, args=(running,), name=f"round-{target.name}", daemon=True)
        running.thread.start()
        return running

    def _end(self, running: _Running, deadline: float) -> None:
        running.stop.set()
        running.thread.join(max(0.0, deadline - time.monotonic()))
        running.pipeline.save()

    def _run(self, running: _Running) -> None:
        pipeline = running.pipeline
        pipeline.load()
        cadence = Cadence(float(pipeline.target.every), self._clock())
        while not running.stop.is_set():
            with logs.correlation("round"):
                self._round(running)
            skipped = cadence.ended(self._clock(), failed=bool(running.error))
            self._meters.rounds_skipped(pipeline.target.name, skipped)
            self._wait(running, cadence.due)

    def _wait(self, running: _Running, due: float) -> None:
        """Until the next round is due, training is told to stop, or trained models want a round of their own."""
        while (left := due - self._clock()) > 0:
            training = running.pipeline.training
            if running.stop.wait(min(left, TRAINING_SECONDS) if training else left):
                return
            if training and self._trained(running.pipeline):
                return

    def _trained(self, pipeline: Pipeline) -> bool:
        try:
            return pipeline.train()
        except Exception:
            self._meters.error(pipeline.target.name, "internal")
            log.exception("training failed", forecast=pipeline.target.name)
            return True  # the round will tell whether it lasts

    def _round(self, running: _Running) -> None:
        name = running.pipeline.target.name
        try:
            running.pipeline.round()
        except CloudPulseError as error:
            self._meters.error(name, reason(error))
            if str(error) != running.error:
                log.error("round failed", forecast=name, error=str(error))
            running.error = str(error)
        except Exception as error:
            # A bug, or data that nobody thought of: this target waits, the others go on.
            self._meters.error(name, "internal")
            if repr(error) != running.error:
                log.exception("round failed", forecast=name)
            running.error = repr(error)
        else:
            if running.error:
                log.info("round works again", forecast=name)
            running.error = ""
