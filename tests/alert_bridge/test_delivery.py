import random
import threading

import pytest
from prometheus_client import CollectorRegistry

from alert_bridge import webhook
from alert_bridge.delivery import HUNG_SECONDS, RETRY_AFTER_LIMIT_SECONDS, Backoff, Delivery, Worker
from alert_bridge.insight import NoInsights
from alert_bridge.metrics import BacklogMetrics, BridgeMetrics
from alert_bridge.notifier import Ack, DeliveryFailed
from alert_bridge.notifiers.log import LogReceiver
from alert_bridge.outbox import Outbox
from alert_bridge.queueing import Terms
from alert_bridge.testing import eventually, webhook_body
from cloudpulse.errors import StoreError


class Scripted:
    """A notifier that raises what is next in `results`, or takes the notification."""

    def __init__(self, *results):
        self.results = list(results)
        self.sent = []

    def send(self, message):
        self.sent.append(message.notification)
        if self.results and (error := self.results.pop(0)) is not None:
            raise error
        return {}


AGAIN = DeliveryFailed("no answer", retryable=True)
NEVER = DeliveryFailed("refused", retryable=False)


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def worker(outbox, clock, registry):
    metrics = BridgeMetrics(registry, ["one"])

    def make(notifier):
        return Worker("one", notifier, outbox, NoInsights(), clock, Backoff(1, 60), metrics, threading.Event())

    return make


def store(outbox, *alerts, receivers=("one",), **changes):
    group = webhook.parse(webhook_body(*alerts, **changes))
    outbox.store(group, {receiver: list(range(len(group.alerts))) for receiver in receivers})


def test_waits_double_up_to_the_most_and_differ_at_random():
    backoff, jitter = Backoff(1, 60), random.Random(1)
    for attempt, longest in ((1, 1), (2, 2), (5, 16), (7, 60), (10_000, 60)):
        delays = [backoff.delay(attempt, jitter) for _ in range(200)]
        assert all(longest / 2 <= delay <= longest for delay in delays)
        assert max(delays) - min(delays) > longest / 4


def test_a_failed_delivery_is_tried_again_when_its_time_has_come(outbox, clock, worker, registry):
    notifier = Scripted(AGAIN, AGAIN)
    one = worker(notifier)
    store(outbox)
    assert one.step()
    assert not one.step()
    clock.advance(1)
    assert one.step()
    assert not one.step()
    clock.advance(2)
    assert one.step()
    assert not one.step()
    assert [n.attempt for n in notifier.sent] == [1, 2, 3]
    assert len({n.idempotency_key for n in notifier.sent}) == 1
    results = "cloudpulse_alert_bridge_notifications_total"
    assert registry.get_sample_value(results, {"receiver": "one", "result": "failed"}) == 2
    assert registry.get_sample_value(results, {"receiver": "one", "result": "delivered"}) == 1
    assert registry.get_sample_value("cloudpulse_alert_bridge_retries_total", {"receiver": "one"}) == 2
    latency = "cloudpulse_alert_bridge_delivery_latency_seconds_sum"
    assert registry.get_sample_value(latency, {"receiver": "one"}) == 3


def test_retry_after_is_honoured(outbox, clock, worker):
    one = worker(notifier := Scripted(DeliveryFailed("busy", retryable=True, retry_after_seconds=90)))
    store(outbox)
    one.step()
    clock.advance(89)
    assert not one.step()
    clock.advance(1)
    assert one.step()
    assert len(notifier.sent) == 2


def test_retry_after_can_not_stall_a_notification_for_ever(outbox, clock, worker):
    one = worker(Scripted(*[DeliveryFailed("busy", retryable=True, retry_after_seconds=10**9)] * 2))
    store(outbox)
    assert one.step()
    clock.advance(RETRY_AFTER_LIMIT_SECONDS)
    assert one.step()
    assert [entry.state for entry in outbox.backlog()] == ["dead"]


def test_the_progress_of_a_failed_attempt_is_known_to_the_next_one_and_to_none_of_another(outbox, clock, worker):
    """Also when a person tries a dead letter again: who has it already must not get it twice."""
    part = DeliveryFailed("one of two", retryable=True, progress={"taken": "a"})
    more = DeliveryFailed("again", retryable=True)
    end = DeliveryFailed("two of three", retryable=False, progress={"taken": "a b"})
    one = worker(notifier := Scripted(part, more, end))
    store(outbox, ("a", "firing"))
    store(outbox, ("b", "firing"))
    for _ in range(4):
        clock.advance(60)
        assert one.step()
    outbox.retry(notifier.sent[0].id)
    assert one.step()
    assert [sent.progress for sent in notifier.sent] == [{}, {"taken": "a"}, {"taken": "a"}, {}, {"taken": "a b"}]


def test_what_a_part_of_the_receiver_has_is_remembered_though_it_is_given_up(outbox, worker):
    one = worker(notifier := Scripted(DeliveryFailed("one of two", retryable=False, memory={"first": "id"})))
    store(outbox, ("a", "firing"))
    store(outbox, ("b", "firing"))
    assert one.step()
    assert one.step()
    assert [sent.memory for sent in notifier.sent] == [{}, {"first": "id"}]


def test_what_the_receiver_refuses_is_a_dead_letter_at_once_and_the_next_goes_on(outbox, clock, worker, registry):
    one = worker(notifier := Scripted(NEVER))
    store(outbox, ("a", "firing"))
    store(outbox, ("b", "firing"))
    assert one.step()
    assert one.step()
    assert [n.group.alerts[0].fingerprint for n in notifier.sent] == ["a", "b"]
    exported = {m.name: m for m in BacklogMetrics(outbox, ["one", "idle"], clock).collect()}
    dead = exported["cloudpulse_alert_bridge_dead_letters"].samples
    assert {s.labels["receiver"]: s.value for s in dead} == {"one": 1, "idle": 0}
    assert "cloudpulse_alert_bridge_oldest_pending_age_seconds" not in exported


def test_after_give_up_after_it_is_a_dead_letter(outbox, clock, worker):
    notifier = Scripted(*[AGAIN] * 1000)
    one = worker(notifier)
    store(outbox)
    began = clock()
    while outbox.backlog()[0].state == "pending":
        if not one.step():
            clock.advance(5)
    assert clock() - began == 3600
    assert len(notifier.sent) > 60
    assert not one.step()


def test_a_notifier_with_a_bug_costs_a_retry_not_the_thread_and_tells_no_secret(outbox, clock, worker, logged):
    one = worker(notifier := Scripted(KeyError("secret-in-the-error")))
    store(outbox)
    assert one.step()
    assert "KeyError at " in str(logged)
    assert "secret-in-the-error" not in str(logged)
    clock.advance(1)
    assert one.step()
    assert len(notifier.sent) == 2


def test_a_fallback_is_woken_when_it_is_to_be_told(database, clock):
    receivers = {"one": LogReceiver(name="one", fallback="two"), "two": LogReceiver(name="two")}
    outbox = Outbox(database, clock, Terms(600, 3600, receivers))
    metrics, woken = BridgeMetrics(CollectorRegistry(), ["one", "two"]), []
    nothing, backoff = NoInsights(), Backoff(1, 60)
    one = Worker("one", Scripted(NEVER), outbox, nothing, clock, backoff, metrics, threading.Event(), wake=woken.extend)
    store(outbox)
    assert one.step()
    assert woken == ["two"]
    assert outbox.claim("two") is not None


def test_a_bug_beside_the_notifier_does_not_silence_a_receiver(outbox, clock, monkeypatch):
    monkeypatch.setattr("alert_bridge.delivery.IDLE_SECONDS", 0.01)
    claim, broken = outbox.claim, iter([True, True])

    def breaks(receiver):
        if next(broken, False):
            raise KeyError("a bug")
        return claim(receiver)

    monkeypatch.setattr(outbox, "claim", breaks)
    stopping, notifier = threading.Event(), Scripted()
    metrics = BridgeMetrics(CollectorRegistry(), ["one"])
    worker = Worker("one", notifier, outbox, NoInsights(), clock, Backoff(1, 60), metrics, stopping)
    delivery = Delivery([worker], outbox, clock, stopping)
    store(outbox)
    delivery.start()
    eventually(lambda: len(notifier.sent) == 1, 5)
    delivery.stop(5)


def test_a_result_that_can_not_be_recorded_is_tried_again_not_sent_again(outbox, clock, worker, monkeypatch):
    monkeypatch.setattr("alert_bridge.delivery.STORE_RETRY_SECONDS", 0.01)
    fails = iter([True, True, False])
    record = outbox.delivered

    def full(notification, memory):
        if next(fails):
            raise StoreError("disk full")
        record(notification, memory)

    monkeypatch.setattr(outbox, "delivered", full)
    one = worker(notifier := Scripted())
    store(outbox)
    assert one.step()
    assert len(notifier.sent) == 1
    assert outbox.backlog() == []


def test_a_dead_receiver_holds_up_no_other(outbox, clock):
    """Its threads hang in `send`; the other receiver's deliveries go on, in order, as they are stored."""
    release, stopping = threading.Event(), threading.Event()

    class Hanging:
        def send(self, message):
            release.wait(10)

    metrics = BridgeMetrics(CollectorRegistry(), ["dead", "alive"])
    alive = Scripted()
    workers = [
        Worker(name, notifier, outbox, NoInsights(), clock, Backoff(1, 60), metrics, stopping)
        for name, notifier in (("dead", Hanging()), ("dead", Hanging()), ("alive", alive))
    ]
    delivery = Delivery(workers, outbox, clock, stopping)
    delivery.start()
    for n in range(20):
        store(outbox, (f"f{n:02}", "firing"), receivers=("dead", "alive"))
        delivery.wake(["dead", "alive"])
    eventually(lambda: len(alive.sent) == 20, 5)
    assert [n.group.alerts[0].fingerprint for n in alive.sent] == [f"f{n:02}" for n in range(20)]
    release.set()
    delivery.stop(5)


def test_what_takes_very_long_is_not_sent_by_a_second_thread_and_said(outbox, clock, logged):
    entered, release, stopping = threading.Event(), threading.Event(), threading.Event()

    class Slow:
        def send(self, message):
            entered.set()
            release.wait(10)
            return {}

    metrics, second = BridgeMetrics(CollectorRegistry(), ["one"]), Scripted()
    slow, other = (
        Worker("one", notifier, outbox, NoInsights(), clock, Backoff(1, 60), metrics, stopping)
        for notifier in (Slow(), second)
    )
    delivery = Delivery([slow, other], outbox, clock, stopping)
    store(outbox)
    thread = threading.Thread(target=slow.step)
    thread.start()
    assert entered.wait(5)
    try:
        for _ in range(4):
            clock.advance(HUNG_SECONDS / 2)
            delivery.warn_of_hung()
            assert not other.step()
    finally:
        release.set()
        thread.join(5)
    assert "delivery takes very long" in str(logged)
    assert outbox.backlog() == []
    assert second.sent == []


def test_stopping_does_not_wait_for_a_receiver_that_hangs(outbox, clock):
    stopping, entered, release = threading.Event(), threading.Event(), threading.Event()

    class Hanging:
        def send(self, message):
            entered.set()
            release.wait(10)

    metrics = BridgeMetrics(CollectorRegistry(), ["one"])
    worker = Worker("one", Hanging(), outbox, NoInsights(), clock, Backoff(1, 60), metrics, stopping)
    delivery = Delivery([worker], outbox, clock, stopping)
    store(outbox)
    delivery.start()
    assert entered.wait(5)
    delivery.stop(0.1)
    assert [entry.state for entry in outbox.backlog()] == ["pending"]
    release.set()
    eventually(lambda: outbox.backlog() == [], 5)


def test_an_ack_waits_for_no_insight(outbox, clock, registry):
    class Asked(NoInsights):
        def of(self, group):
            raise AssertionError("an ack needs none")

    notifier = Scripted()
    metrics = BridgeMetrics(registry, ["one"])
    worker = Worker("one", notifier, outbox, NoInsights(), clock, Backoff(1, 60), metrics, threading.Event())
    store(outbox, ("a", "firing"))
    assert worker.step()
    outbox.acknowledge("a", Ack("ann", clock() + 60), lambda _: None)
    assert Worker("one", notifier, outbox, Asked(), clock, Backoff(1, 60), metrics, threading.Event()).step()
    assert [one.ack is not None for one in notifier.sent] == [False, True]
    assert (
        registry.get_sample_value(
            "cloudpulse_alert_bridge_notifications_total", {"receiver": "one", "result": "delivered"}
        )
        == 2
    )
