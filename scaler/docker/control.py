"""One service under control: look at it and at its metric, decide as the HPA does, change it, each interval.

Absent beats wrong: without a value that can be trusted, or without the Engine, nothing is changed at all, not even to
bring the number within its bounds. Why not is logged and counted once as it begins; its end is logged.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from cloudpulse import audit, logs, trace
from cloudpulse.clock import Clock
from cloudpulse.hpa import Autoscaler, Decision
from cloudpulse.recommendation import Tolerances, external_average, external_value, thousandths
from scaler.docker.config import ScaledService
from scaler.docker.engine import Disabled, EngineError, NotScalable
from scaler.docker.meters import Meters
from scaler.docker.workload import Replicas, Workload
from scaler.provider import Answer
from scaler.refusal import Refused
from scaler.selector import Selector, parse

Ask = Callable[[str, Selector], Answer]
"""What an external metric is now, of the series selected; raises Refused."""

FIRST_SECONDS = 2.0
"""Before the first look: the metrics' rules, started just before, are being evaluated for the first time."""

log = logs.get(__name__)


@dataclass(frozen=True)
class State:
    """What the last look found; None where it isn't known.

    `reason` is why nothing is changed in a word, that of the error counter, and `problem` in a sentence. Without a
    `reason` the problem holds nothing up; both are "" while all is well.
    """

    replicas: int | None = None
    ready: int | None = None
    desired: int | None = None
    reason: str = ""
    problem: str = ""


_IN_OTHER_WORDS = {"metric", "engine", "refused"}
"""Reasons that go on with other words: how old the value is, how the connection fails, which container was meant."""
_UNSEEN = State(reason="unseen", problem="it has not been looked at yet")


class Control:
    """Scales `service`, in a thread of its own; `state` may be read by any.

    `clock` tells the age of values, `ticks`, which nobody sets back, the windows and periods of the HPA. `turn` is held
    during a look: after a reload the next Control of the same service waits for this one's last.
    """

    def __init__(
        self,
        service: ScaledService,
        workload: Workload,
        ask: Ask,
        meters: Meters,
        clock: Clock,
        ticks: Clock,
        turn: threading.Lock,
        *,
        dry_run: bool = False,
    ) -> None:
        self.service = service
        self.state = _UNSEEN
        self._workload = workload
        self._ask = ask
        self._meters = meters
        self._clock = clock
        self._ticks = ticks
        self._turn = turn
        self._dry_run = dry_run
        self._selector = parse(service.selector)
        self._behavior = service.behavior.behavior()
        self._autoscaler = Autoscaler(service.min, service.max, self._behavior)
        self._would: tuple[int, int] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._repeat, name=f"scale {service.name}", daemon=True)
        self._interval = 0.0

    def start(self, interval: float) -> None:
        """Look as soon as there may be a value, and then each `interval` seconds."""
        self._interval = interval
        self._thread.start()

    def stop(self) -> None:
        """End; a look under way is not waited for."""
        self._stop.set()

    def join(self, seconds: float) -> None:
        """Wait for the end."""
        if self._thread.ident is not None:
            self._thread.join(seconds)

    def look(self) -> None:
        """Once: read, decide, change. Never raises."""
        with self._turn:
            if self._stop.is_set():
                return
            before, self.state = self.state, self._looked()
            self._tell(before)

    def _looked(self) -> State:
        state = State()
        try:
            seen = self._workload.read()
            state = State(seen.wanted, seen.ready, problem=seen.problem)
            answer, decision = self._decided(seen)
            state = replace(state, desired=decision.replicas)
            if decision.replicas != seen.wanted:
                self._change(seen.wanted, answer, decision)
        except Refused as refused:
            return replace(state, reason="metric", problem=refused.message)
        except EngineError as error:
            return replace(state, reason=error.reason, problem=str(error))
        except Exception as error:  # a dead thread would mean a service that is never scaled again
            log.exception("not looked at", service=self.service.name)
            return replace(state, reason="internal", problem=f"{type(error).__name__}: see the scaler's log")
        return state

    def _decided(self, seen: Replicas) -> tuple[Answer, Decision]:
        if seen.wanted == 0:
            raise Disabled("it has 0 replicas, so that scaling is off: start it, or give it 1 or more, to turn it on")
        if seen.held:
            raise NotScalable(seen.held)
        answer = self._ask(self.service.metric, self._selector)
        decision = self._autoscaler.decide(self._ticks(), seen.wanted, self._recommended(answer, seen))
        return answer, decision

    def _recommended(self, answer: Answer, seen: Replicas) -> int:
        tolerances = Tolerances.of(self._behavior)
        values = [thousandths(item.value) for item in answer.items]
        if self.service.target is not None:
            return external_average(values, thousandths(self.service.target), seen.wanted, tolerances)
        assert self.service.value is not None
        if seen.ready == 0:
            raise NotScalable("none of its replicas is ready, so that the value says nothing of how many it takes")
        return external_value(values, thousandths(self.service.value), seen.wanted, seen.ready, tolerances)

    def _change(self, before: int, answer: Answer, decision: Decision) -> None:
        line: dict[str, Any] = {
            "service": self.service.name,
            "from": before,
            "to": decision.replicas,
            "metric": answer.rule.name,
            "value": answer.total,
            "age_seconds": round(self._clock() - answer.oldest, 3),
            "source": answer.source,
            "reason": decision.reason,
            "dry_run": self._dry_run,
        }
        if self._dry_run:
            if self._would != (before, decision.replicas):
                log.info("would scale", **line)
            self._would = before, decision.replicas
            return
        try:
            self._workload.scale(before, decision.replicas)
        except EngineError as error:
            if error.reason != self.state.reason:
                line["error"] = str(error)
                audit.written("scaler", "scale service", "failed", about=line)  # some of it may have been done
                log.warning("not scaled", **line)
            raise
        self._autoscaler.changed(self._ticks(), before, decision.replicas)
        self._meters.changed(self.service.name, before, decision.replicas)
        if not audit.written("scaler", "scale service", "scaled", about=line):
            log.info("scaled", **line)

    def _tell(self, before: State) -> None:
        """Log and count what prevents changes as it begins, and its end; log what else is wrong."""
        state = self.state
        if state.reason == before.reason and (state.reason in _IN_OTHER_WORDS or state.problem == before.problem):
            return
        if state.reason:
            self._meters.prevented(self.service.name, state.reason)
            log.warning("scaling stopped", service=self.service.name, reason=state.reason, why=state.problem)
        elif before.reason and before is not _UNSEEN:
            log.info("scaling goes on", service=self.service.name, replicas=state.replicas)
        if state.problem and not state.reason:
            log.warning("not all of it runs", service=self.service.name, why=state.problem)

    def _repeat(self) -> None:
        wait = min(FIRST_SECONDS, self._interval)
        while not self._stop.wait(wait):
            with trace.span("docker look", cloudpulse__service=self.service.name):
                self.look()
            wait = self._interval
        self._workload.close()
