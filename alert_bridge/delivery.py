"""Takes notifications from the outbox to their receivers, again and again until they are taken or given up.

Each receiver has threads of its own, so that a dead one holds up no other.
"""

from __future__ import annotations

import random
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from alert_bridge.audience import Routing
from alert_bridge.insight import NOTHING, Insights
from alert_bridge.metrics import BridgeMetrics
from alert_bridge.notifier import DeliveryFailed, Message, Notification, Notifier
from alert_bridge.outbox import Outbox
from cloudpulse import logs, trace
from cloudpulse.clock import Clock
from cloudpulse.errors import StoreError

IDLE_SECONDS = 30
"""Longest sleep without a look at the outbox: bounds what a step of the system clock can delay."""

HUNG_SECONDS = 600
"""A delivery under way for so long is an error in the log: notifiers bound their own time to less."""

UPKEEP_SECONDS = 15
"""Between looks at what is under way, and at what mute routes keep, whose intervals are of whole minutes."""

STORE_RETRY_SECONDS = 1
RETRY_AFTER_LIMIT_SECONDS = 3600
"""A receiver that asks for more is tried after this."""

log = logs.get(__name__)


@dataclass(frozen=True)
class Backoff:
    """Doubling waits from `first` up to `maximum` seconds, each shortened at random by up to half."""

    first: float
    maximum: float

    def delay(self, attempt: int, jitter: random.Random) -> float:
        """Seconds to wait after attempt number `attempt` (from 1)."""
        # Past 2**30 the maximum has long been reached.
        return min(self.maximum, self.first * 2.0 ** min(attempt - 1, 30)) * jitter.uniform(0.5, 1)


class Pause:
    """Until when (Unix seconds) a receiver asked to be left alone with all of its notifications; an hour at most.

    Shared by its workers. Another replica, or the next process, is asked by the receiver itself, at its first try.
    """

    def __init__(self) -> None:
        self.until = 0.0

    def extend(self, until: float) -> None:
        """At least until then."""
        self.until = max(self.until, until)

    def holds(self, now: float) -> bool:
        """Whether it does now; not after a clock that was set back."""
        return now < self.until <= now + RETRY_AFTER_LIMIT_SECONDS


@dataclass(frozen=True)
class Sending:
    """What a worker is sending, and since when (Unix seconds)."""

    notification: Notification
    since: float


class Worker:
    """Delivers for one receiver, one notification after the other; used by one thread.

    `wake` hears who is told instead of a receiver that could not be.
    """

    def __init__(
        self,
        receiver: str,
        notifier: Notifier,
        outbox: Outbox,
        insights: Insights,
        clock: Clock,
        backoff: Backoff,
        metrics: BridgeMetrics,
        stopping: threading.Event,
        pause: Pause | None = None,
        links: Callable[[Notification], str] = lambda _: "",
        wake: Callable[[Iterable[str]], None] = lambda _: None,
    ) -> None:
        self._links = links
        self._wake = wake
        self.receiver = receiver
        self._notifier = notifier
        self._outbox = outbox
        self._insights = insights
        self._clock = clock
        self._backoff = backoff
        self._metrics = metrics
        self._stopping = stopping
        self._pause = pause or Pause()
        self._jitter = random.Random()
        self.sending: Sending | None = None

    def step(self) -> bool:
        """Try the next due notification; False when none is due. Raises StoreError when none could be claimed."""
        if self._pause.holds(self._clock()):
            return False
        notification = self._outbox.claim(self.receiver)
        if notification is None:
            return False
        self.sending = Sending(notification, self._clock())
        try:
            self._deliver(notification)
        finally:
            self.sending = None
            self._outbox.lost(notification)  # only where a bug kept it from being settled
        return True

    def next_at(self, after: float) -> float | None:
        """When to step again, after a step at the time `after` that found nothing due; None if nothing is to come."""
        return self._pause.until if self._pause.holds(after) else self._outbox.next_due(self.receiver, after)

    @property
    def longest_wait(self) -> float:
        """Seconds between two tries, at most."""
        return max(RETRY_AFTER_LIMIT_SECONDS, self._backoff.maximum)

    def _deliver(self, notification: Notification) -> None:
        about: dict[str, str | float] = {
            "cloudpulse__receiver": self.receiver,
            "cloudpulse__attempt": notification.attempt,
        }
        with trace.within(notification.trace), trace.span("deliver", "client", **about) as span:
            try:
                # That someone has taken it is all that an ack tells.
                insight = NOTHING if notification.ack is not None else self._insights.of(notification.group)
                memory = self._notifier.send(Message(notification, insight, self._links(notification)))
            except DeliveryFailed as error:
                span.failed(str(error))
                self._failed(notification, error)
            except Exception as error:  # noqa: BLE001  see below
                # A bug in a notifier must not end the thread, nor lose the notification.
                # Its own text is shown nowhere, since it may hold a URL or a header.
                where = traceback.extract_tb(error.__traceback__)[-1]
                text = f"the notifier broke: {type(error).__name__} at {where.filename}:{where.lineno}"
                span.failed(text)
                self._failed(notification, DeliveryFailed(text, retryable=True))
            else:
                self._settle(lambda: self._outbox.delivered(notification, memory))
                self._metrics.attempts.labels(self.receiver, "delivered").inc()
                if (summary := notification.summary) is not None:
                    self._metrics.summaries.labels(self.receiver).inc()
                    self._metrics.summarised.labels(self.receiver).inc(summary.notifications)
                waited = max(0.0, self._clock() - notification.stored_at)
                self._metrics.latency.labels(self.receiver).observe(waited)
                log.info("delivered", receiver=self.receiver, id=notification.id, attempt=notification.attempt)

    def _failed(self, notification: Notification, error: DeliveryFailed) -> None:
        delay = self._backoff.delay(notification.attempt, self._jitter)
        if error.retry_after_seconds is not None:
            delay = max(delay, min(error.retry_after_seconds, RETRY_AFTER_LIMIT_SECONDS))
        now = self._clock()
        if error.retry_after_seconds is not None:
            self._pause.extend(now + min(error.retry_after_seconds, RETRY_AFTER_LIMIT_SECONDS))
        due_at = min(now + delay, notification.give_up_at)  # the last try is at the very end
        facts = {"receiver": self.receiver, "id": notification.id, "attempt": notification.attempt, "error": str(error)}
        if error.retryable and now < notification.give_up_at:
            self._settle(lambda: self._outbox.postponed(notification, due_at, str(error), error.progress))
            self._metrics.attempts.labels(self.receiver, "failed").inc()
            self._metrics.retries.labels(self.receiver).inc()
            log.warning("delivery failed, will try again", **facts, retry_in_seconds=round(due_at - now, 3))
        else:
            told: list[str] = []
            self._settle(
                lambda: told.extend(self._outbox.given_up(notification, str(error), error.progress, error.memory))
            )
            self._wake(told)
            self._metrics.attempts.labels(self.receiver, "given_up").inc()
            log.error("delivery given up", **facts, hint="POST /api/v1/notifications/<id>/retry")

    def _settle(self, record: Callable[[], None]) -> None:
        """Record a result, however long the disk is full: forgetting it would send the same again."""
        while True:
            try:
                return record()
            except StoreError as error:
                log.error("result not recorded, will try again", receiver=self.receiver, error=str(error))
            if self._stopping.wait(STORE_RETRY_SECONDS):
                return None


class Delivery:
    """Runs the workers, each in a thread, until stopped; `route` says where what mute routes keep goes at a time."""

    def __init__(
        self,
        workers: Sequence[Worker],
        outbox: Outbox,
        clock: Clock,
        stopping: threading.Event,
        route: Routing | None = None,
    ) -> None:
        self._outbox = outbox
        self._clock = clock
        self._stopping = stopping
        self._gates: Mapping[str, _Gate] = {worker.receiver: _Gate() for worker in workers}
        self._threads = [
            threading.Thread(target=self._run, args=(worker,), name=f"to {worker.receiver}", daemon=True)
            for worker in workers
        ]
        self._workers = workers
        self._route = route
        self._threads.append(threading.Thread(target=self._upkeep, name="deliveries", daemon=True))

    def start(self) -> None:
        """Begin with what waits from before."""
        for thread in self._threads:
            thread.start()

    def wake(self, receivers: Iterable[str]) -> None:
        """Something new is due for these receivers."""
        for receiver in receivers:
            if receiver in self._gates:
                self._gates[receiver].open()

    def stop(self, seconds: float) -> None:
        """Wait at most `seconds` for what is under way; the rest stays in the outbox."""
        self._stopping.set()
        for gate in self._gates.values():
            gate.open(everyone=True)
        share = seconds / max(1, len(self._threads))
        for thread in self._threads:
            if thread.is_alive():
                thread.join(share)

    def _run(self, worker: Worker) -> None:
        gate = self._gates[worker.receiver]
        while not self._stopping.is_set():
            seen, began = gate.opened, self._clock()
            try:
                if worker.step():
                    continue
                due = worker.next_at(began)
                seconds = IDLE_SECONDS if due is None else min(IDLE_SECONDS, max(0.0, due - self._clock()))
            except StoreError as error:
                log.error("outbox not readable, will try again", receiver=worker.receiver, error=str(error))
                seconds = STORE_RETRY_SECONDS
            except Exception:  # a bug, too, must not silence a receiver until the next start
                log.exception("delivery broke, will try again", receiver=worker.receiver)
                seconds = IDLE_SECONDS  # the receiver may have it
            gate.wait(seen, seconds)

    def warn_of_hung(self) -> None:
        """Log what takes very long, again and again."""
        for worker in self._workers:
            if (sending := worker.sending) is None:
                continue
            hung = self._clock() - sending.since
            if hung >= HUNG_SECONDS and hung % HUNG_SECONDS < UPKEEP_SECONDS:
                hint = "its incident waits; restart the bridge if it doesn't end"
                log.error("delivery takes very long", receiver=worker.receiver, seconds=round(hung), hint=hint)

    def _upkeep(self) -> None:
        while not self._stopping.wait(UPKEEP_SECONDS):
            try:
                self.warn_of_hung()
                self.wake(self._outbox.hurry(max((worker.longest_wait for worker in self._workers), default=0)))
                while self._route is not None and (told := self._outbox.release(self._route)):
                    self.wake(told)
            except StoreError as error:
                log.error("outbox not usable, what mute routes keep waits on", error=str(error))
            except Exception:  # a bug, too, must not end it for as long as the process lives
                log.exception("upkeep of deliveries broke, will try again")


class _Gate:
    """Lets a thread sleep until the gate is opened, also when that happens just before it falls asleep."""

    def __init__(self) -> None:
        self.opened = 0
        self._condition = threading.Condition()

    def open(self, *, everyone: bool = False) -> None:
        with self._condition:
            self.opened += 1
            if everyone:
                self._condition.notify_all()
            else:
                self._condition.notify()

    def wait(self, seen: int, seconds: float) -> None:
        with self._condition:
            if self.opened == seen:
                self._condition.wait(seconds)
