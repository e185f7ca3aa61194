"""When rounds happen: one thread a target, so that one slow query delays no other; reload without restart."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cloudpulse import logs, trace
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

STOP_SECONDS = 8.0
"""How long a stop takes at most, all targets together: the contract's 10 s less a margin."""
HISTORY_SECONDS = 2.0
"""So much of it is left for the history of rounds that don't end; a slow query ends with the process."""
_LOOK_SECONDS = 0.1

log = logs.get(__name__)


@dataclass(eq=False)
class _Running:
    pipeline: Pipeline
    before: list[threading.Thread]  # that may still be in a round of the same name, in the same folders
    stop: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread = field(init=False)
    error: str = ""

    @property
    def name(self) -> str:
        return self.pipeline.target.name

    def end(self) -> None:
        """Nothing is published from here on; the thread saves and ends when its query does."""
        self.pipeline.close()
        self.stop.set()


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
    """Runs a Pipeline for every target. `make` builds one. For several threads; `states` waits for nothing."""

    def __init__(self, make: Callable[[Target], Pipeline], store: ForecastStore, meters: Meters, clock: Clock) -> None:
        self._make = make
        self._store = store
        self._meters = meters
        self._clock = clock
        self._running: dict[str, _Running] = {}
        self._ending: list[_Running] = []
        self._closed = False
        self._changing = threading.Lock()  # held by `apply` and `close`
        self._lock = threading.Lock()  # of the above, never held for long

    def apply(self, targets: Sequence[Target]) -> None:
        """Start what is new, stop what is gone, restart what changed; the rest goes on undisturbed.

        What stops is absent at once, and its successor begins when its round under way has ended.
        """
        wanted = {target.name: target for target in targets}
        with self._changing:
            if self._closed:
                return
            kept = {name for name, one in self._running.items() if wanted.get(name) == one.pipeline.target}
            made = [self._make(target) for name, target in wanted.items() if name not in kept]
            with self._lock:
                for name in self._running.keys() - kept:
                    one = self._running.pop(name)
                    one.end()
                    self._store.drop(name)
                    self._ending.append(one)
                self._ending = [one for one in self._ending if one.thread.is_alive()]
                for pipeline in made:
                    self._running[pipeline.target.name] = self._start(pipeline)

    def close(self) -> None:
        """Stop all within STOP_SECONDS and save what they know; of a round that doesn't end, the history."""
        with self._changing:
            self._closed = True
            deadline = time.monotonic() + STOP_SECONDS
            with self._lock:
                ending = [*self._ending, *self._running.values()]
                self._ending, self._running = [], {}
            for one in ending:
                one.end()
            _join([one.thread for one in ending], deadline - HISTORY_SECONDS)
            savers = [
                threading.Thread(target=self._save, args=(one, one.pipeline.save_history), daemon=True)
                for one in ending
                if one.thread.is_alive()
            ]
            for saver in savers:
                saver.start()
            _join(savers, deadline)

    def targets(self) -> list[Target]:
        """What is forecast or tried to be, by name."""
        with self._lock:
            return sorted((one.pipeline.target for one in self._running.values()), key=lambda target: target.name)

    def states(self) -> dict[str, str]:
        """`ok`, `starting` or the newest error, by target."""
        with self._lock:
            running = dict(self._running)
        fresh = {issue.target.name for issue in self._store.fresh()}
        return {name: one.error or ("ok" if name in fresh else "starting") for name, one in running.items()}

    def _start(self, pipeline: Pipeline) -> _Running:
        name = pipeline.target.name
        running = _Running(pipeline, [one.thread for one in self._ending if one.name == name])
        running.thread = threading.Thread(target=self._run, args=(running,), name=f"round-{name}", daemon=True)
        running.thread.start()
        return running

    def _run(self, running: _Running) -> None:
        while any(thread.is_alive() for thread in running.before):
            if running.stop.wait(_LOOK_SECONDS):
                return  # with nothing loaded there is nothing to save
        running.before.clear()
        self._load(running)
        cadence = Cadence(float(running.pipeline.target.every), self._clock())
        while not running.stop.is_set():
            with trace.span("forecast round", cloudpulse__forecast=running.name):
                self._round(running)
            skipped = cadence.ended(self._clock(), failed=bool(running.error))
            self._meters.rounds_skipped(running.name, skipped)
            self._wait(running, cadence)
        self._save(running, running.pipeline.save)

    def _load(self, running: _Running) -> None:
        try:
            running.pipeline.load()
        except Exception:
            self._meters.error(running.name, "internal")
            log.exception("what was kept can't be taken up, all starts anew", forecast=running.name)

    def _save(self, running: _Running, save: Callable[[], None]) -> None:
        try:
            save()
        except Exception:
            self._meters.error(running.name, "internal")
            log.exception("not saved", forecast=running.name)

    def _wait(self, running: _Running, cadence: Cadence) -> None:
        """Until the next round is due, training is told to stop, or trained models want a round of their own.

        No longer than rounds are apart, so that a clock set back delays none.
        """
        latest = time.monotonic() + cadence.every
        while (left := min(cadence.due - self._clock(), latest - time.monotonic())) > 0:
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
        name = running.name
        try:
            running.pipeline.round()
        except CloudPulseError as error:
            if running.stop.is_set():
                return  # a round that was told to end has no outcome
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


def _join(threads: Sequence[threading.Thread], deadline: float) -> None:
    """Wait for threads to end, until the monotonic time `deadline`."""
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
