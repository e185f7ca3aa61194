import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from alert_bridge import summaries, webhook
from alert_bridge.database import Database
from alert_bridge.delivery import Backoff, Pause, Worker
from alert_bridge.history import History
from alert_bridge.insight import NoInsights
from alert_bridge.matchers import Matchers
from alert_bridge.metrics import BridgeMetrics
from alert_bridge.notifier import Ack, DeliveryFailed, RateLimit, Summary
from alert_bridge.notifiers.log import LogReceiver
from alert_bridge.outbox import Outbox
from alert_bridge.postgresql import Postgres
from alert_bridge.queueing import Terms
from alert_bridge.replicas import Replicas
from alert_bridge.testing import webhook_body
from cloudpulse.durations import Duration
from cloudpulse.testing import FakeClock
from tests.alert_bridge.tables import empty

URGENT = Matchers.read("severity=critical")


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request):
    return request.getfixturevalue(f"{request.param}_database")


def limited(database, clock, messages=2, **changes):
    limit = RateLimit(messages=messages, per=Duration(60), except_=URGENT)
    receivers = {"one": LogReceiver(name="one", rate_limit=limit, **changes), "two": LogReceiver(name="two")}
    return Outbox(database, clock, Terms(repeat_after=600, give_up_after=3600, receivers=receivers))


def restarted(database, clock, messages=2):
    """The outbox of a process that finds that the one before is gone."""
    outbox = limited(database, clock, messages)
    Replicas(database, outbox, ["one", "two"], "one").beat()
    return outbox


@pytest.fixture
def limited_outbox(database, clock):
    return limited(database, clock)


def post(outbox, *alerts, key="{}:{}", receivers=("one",), **changes):
    told = [(one[:-1], "firing" if one[-1] == "+" else "resolved") for one in alerts]
    group = webhook.parse(webhook_body(*told, key=key, **changes))
    return outbox.store(group, {receiver: list(range(len(group.alerts))) for receiver in receivers})


def signs(notification):
    return " ".join(alert.fingerprint + ("+" if alert.firing else "-") for alert in notification.group.alerts)


def told(outbox, receiver="one"):
    found = []
    while (claimed := outbox.claim(receiver)) is not None:
        outbox.delivered(claimed, {})
        found.append(claimed)
    return found


def test_the_last_message_of_the_limit_tells_all_that_waits(limited_outbox):
    for name in "abcde":
        post(limited_outbox, f"{name}+", key=name)
    first, last = told(limited_outbox)
    assert (signs(first), first.summary) == ("a+", None)
    assert (signs(last), last.summary) == ("b+ c+ d+ e+", Summary(notifications=4, incidents=4))
    assert last.group.status == "firing"
    assert last.group.common_labels == {"alertname": "Test"}
    assert limited_outbox.backlog() == []


def test_what_comes_when_the_limit_is_spent_waits_for_room_and_is_told_together(limited_outbox, clock):
    for name in "ab":
        post(limited_outbox, f"{name}+", key=name)
        assert [signs(one) for one in told(limited_outbox)] == [f"{name}+"]
        clock.advance(10)
    post(limited_outbox, "c+", key="c")
    post(limited_outbox, "d+", key="d")
    assert told(limited_outbox) == []
    assert limited_outbox.next_due("one", after=clock()) == clock() + 40
    clock.advance(39)
    assert told(limited_outbox) == []
    clock.advance(1)
    (summary,) = told(limited_outbox)
    assert signs(summary) == "c+ d+"


def test_one_that_waits_alone_is_told_as_itself(limited_outbox, clock):
    for name in "ab":
        post(limited_outbox, f"{name}+", key=name)
        told(limited_outbox)
    post(limited_outbox, "c+", key="c")
    clock.advance(60)
    (alone,) = told(limited_outbox)
    assert (signs(alone), alone.summary) == ("c+", None)


def test_a_summary_says_the_last_of_each_alert_also_what_only_an_earlier_group_told(limited_outbox, clock):
    post(limited_outbox, "x+", key="x")
    told(limited_outbox)
    post(limited_outbox, "a+", "b+", key="one")
    post(limited_outbox, "a-", "b+", key="one")
    post(limited_outbox, "b-", key="one", truncatedAlerts=3)
    post(limited_outbox, "c+", key="two", truncatedAlerts=2)
    (summary,) = told(limited_outbox)
    assert signs(summary) == "c+ a- b-"
    assert summary.summary == Summary(notifications=4, incidents=2)
    assert summary.group.truncated_alerts == 5
    assert not summary.group.over


def test_ends_alone_make_a_resolved_summary_that_is_not_over_while_alerts_are_left_out(limited_outbox):
    post(limited_outbox, "x+", key="x")
    told(limited_outbox)
    post(limited_outbox, "a-", key="one")
    post(limited_outbox, "b-", key="two", truncatedAlerts=1)
    (summary,) = told(limited_outbox)
    assert summary.group.status == "resolved"
    assert not summary.group.over


def test_a_summary_that_failed_is_the_same_with_the_same_key_and_what_came_since_waits(limited_outbox, clock):
    post(limited_outbox, "x+", key="x")
    told(limited_outbox)
    for name in "ab":
        post(limited_outbox, f"{name}+", key=name)
    first = limited_outbox.claim("one")
    limited_outbox.postponed(first, clock() + 5, "no answer")
    clock.advance(5)
    post(limited_outbox, "a-", key="a")
    post(limited_outbox, "c+", key="c")
    again = limited_outbox.claim("one")
    assert (again.idempotency_key, signs(again), again.attempt) == (first.idempotency_key, "a+ b+", 2)
    assert limited_outbox.claim("one") is None
    limited_outbox.delivered(again, {})
    clock.advance(60)
    assert [signs(one) for one in told(limited_outbox)] == ["a-", "c+"]


def test_a_summary_under_way_when_the_process_ended_is_sent_again_with_the_same_key(limited_outbox, database, clock):
    for name in "xab":
        post(limited_outbox, f"{name}+", key=name)
    limited_outbox.delivered(limited_outbox.claim("one"), {})
    lost = limited_outbox.claim("one")
    assert lost.summary is not None
    assert limited(database, clock).claim("one") is None
    after = restarted(database, clock)
    again = after.claim("one")
    assert (again.idempotency_key, again.group) == (lost.idempotency_key, lost.group)
    after.delivered(again, {})
    assert after.backlog() == []


def test_a_summary_that_is_lost_is_given_out_as_a_whole(limited_outbox):
    for name in "xab":
        post(limited_outbox, f"{name}+", key=name)
    limited_outbox.delivered(limited_outbox.claim("one"), {})
    lost = limited_outbox.claim("one")
    assert limited_outbox.claim("one") is None
    limited_outbox.lost(lost)
    assert limited_outbox.claim("one").idempotency_key == lost.idempotency_key


def test_a_summary_that_is_given_up_leaves_each_notification_to_a_person(limited_outbox, database, clock):
    for name in "xab":
        post(limited_outbox, f"{name}+", key=name)
    limited_outbox.delivered(limited_outbox.claim("one"), {})
    limited_outbox.given_up(limited_outbox.claim("one"), "refused")
    dead = History(database).notifications({"state": "dead"}, None, 10).entries
    assert len(dead) == 2
    clock.advance(60)
    limited_outbox.retry(dead[0]["id"])
    (alone,) = told(limited_outbox)
    assert (signs(alone), alone.summary) == ("b+", None)


def test_the_fallback_is_told_each_notification_of_a_summary_that_is_given_up(database, clock):
    outbox = limited(database, clock, fallback="two")
    for name in "xab":
        post(outbox, f"{name}+", key=name)
    outbox.delivered(outbox.claim("one"), {})
    outbox.given_up(outbox.claim("one"), "refused")
    assert [(signs(one), one.instead_of) for one in told(outbox, "two")] == [("a+", "one"), ("b+", "one")]


def test_what_is_urgent_passes_at_once_in_order_and_does_not_count(limited_outbox, clock):
    for name in "abc":
        post(limited_outbox, f"{name}+", key=name)
    assert len(told(limited_outbox)) == 2
    post(limited_outbox, "a-", key="a")
    assert told(limited_outbox) == []
    for name in "efg":
        post(limited_outbox, f"{name}+", key=name, labels={"severity": "critical"})
    post(limited_outbox, "z+", key="a", labels={"severity": "critical"})
    assert [signs(one) for one in told(limited_outbox)] == ["a-", "e+", "f+", "g+", "z+"]
    clock.advance(60)
    for name in "xy":
        post(limited_outbox, f"{name}+", key=name)
    assert [signs(one) for one in told(limited_outbox)] == ["x+", "y+"]


def test_acks_in_a_storm_are_part_of_a_summary(limited_outbox):
    post(limited_outbox, "a+", key="a")
    told(limited_outbox)
    limited_outbox.acknowledge("a", Ack(by="eve", until=2e9), lambda _: None)
    post(limited_outbox, "b+", key="b")
    (summary,) = told(limited_outbox)
    assert signs(summary) == "a+ b+"
    assert summary.summary == Summary(2, 2, {"a": Ack(by="eve", until=2e9)})


def test_what_is_told_as_firing_after_its_ack_is_not_taken_any_more(limited_outbox):
    post(limited_outbox, "a+", key="a")
    told(limited_outbox)
    limited_outbox.acknowledge("a", Ack(by="eve", until=2e9), lambda _: None)
    limited_outbox.acknowledge("a", None, lambda _: None)
    (summary,) = told(limited_outbox)
    assert summary.summary == Summary(2, 1)


def test_a_summary_forgets_incidents_that_are_over_and_says_what_was_kept_of_them(limited_outbox, clock):
    for name in "ab":
        post(limited_outbox, f"{name}+", key=name)
        limited_outbox.delivered(limited_outbox.claim("one"), {"message": name})
    clock.advance(60)
    post(limited_outbox, "c+", key="c")
    told(limited_outbox)
    post(limited_outbox, "a-", key="a")
    post(limited_outbox, "b+", "d+", key="b")
    (summary,) = told(limited_outbox)
    assert [(dict(one.memory), one.group.over) for one in summary.summary.ended] == [({"message": "a"}, True)]
    clock.advance(60)
    post(limited_outbox, "a+", key="a", labels={"again": "yes"})
    assert limited_outbox.claim("one").memory == {}
    post(limited_outbox, "b+", "d+", "e+", key="b")
    assert limited_outbox.claim("one").memory == {"message": "b"}


def test_a_receiver_without_a_limit_is_told_each(limited_outbox):
    for name in "abcde":
        post(limited_outbox, f"{name}+", key=name, receivers=("two",))
    assert [signs(one) for one in told(limited_outbox, "two")] == ["a+", "b+", "c+", "d+", "e+"]


def test_the_limit_outlives_a_restart(limited_outbox, database, clock):
    for name in "ab":
        post(limited_outbox, f"{name}+", key=name)
    told(limited_outbox)
    post(limited_outbox, "c+", key="c")
    assert told(limited(database, clock)) == []


def test_a_clock_that_was_set_back_silences_nobody(limited_outbox, clock):
    for name in "ab":
        post(limited_outbox, f"{name}+", key=name)
    told(limited_outbox)
    clock.advance(-86400)
    post(limited_outbox, "c+", key="c")
    assert [signs(one) for one in told(limited_outbox)] == ["c+"]


def test_threads_that_claim_at_the_same_time_share_the_limit(database, clock):
    outbox = limited(database, clock, messages=5)
    for n in range(40):
        post(outbox, f"a{n:02}+", key=str(n))
    barrier = threading.Barrier(8)

    def claim(_):
        barrier.wait()
        return outbox.claim("one")

    with ThreadPoolExecutor(8) as pool:
        claimed = [one for one in pool.map(claim, range(8)) if one is not None]
    assert len(claimed) == 5
    assert sorted(one.summary.notifications if one.summary else 1 for one in claimed) == [1, 1, 1, 1, 36]


def test_replicas_share_one_limit(postgresql, clock):
    url = postgresql.new_database()
    databases = [Database(Postgres(url)) for _ in range(2)]
    try:
        outboxes = [limited(database, clock, messages=5) for database in databases]
        for n in range(40):
            post(outboxes[n % 2], f"a{n:02}+", key=str(n))
        barrier = threading.Barrier(8)

        def claim(number):
            barrier.wait()
            return outboxes[number % 2].claim("one")

        with ThreadPoolExecutor(8) as pool:
            claimed = [one for one in pool.map(claim, range(8)) if one is not None]
        assert sorted(one.summary.notifications if one.summary else 1 for one in claimed) == [1, 1, 1, 1, 36]
    finally:
        for database in databases:
            database.close()


def test_a_summary_is_bounded_and_shows_what_fires_first(database, clock, monkeypatch):
    monkeypatch.setattr(summaries, "MOST_NOTIFICATIONS", 6)
    monkeypatch.setattr(summaries, "MOST_ALERTS", 4)
    outbox = limited(database, clock, messages=1)
    for n in range(8):
        post(outbox, f"a{n}{'+' if n in (1, 5) else '-'}", key=str(n))
    (summary,) = told(outbox)
    assert signs(summary) == "a1+ a5+ a0- a2-"
    assert summary.group.truncated_alerts == 2
    clock.advance(60)
    (rest,) = told(outbox)
    assert signs(rest) == "a6- a7-"


def test_a_memory_is_forgotten_when_a_summary_told_of_its_incident(limited_outbox, clock):
    post(limited_outbox, "a+", key="a")
    limited_outbox.delivered(limited_outbox.claim("one"), {"message": "1"})
    post(limited_outbox, "a-", key="a")
    post(limited_outbox, "b+", key="b")
    assert told(limited_outbox)[0].summary is not None
    clock.advance(60)
    post(limited_outbox, "a+", "c+", key="a")
    assert limited_outbox.claim("one").memory == {}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("post"), st.sampled_from("abc")),
        st.tuples(st.just("urgent"), st.sampled_from("ab")),
        st.tuples(st.sampled_from(["deliver", "postpone", "die", "hold", "restart"]), st.just("")),
        st.tuples(st.just("wait"), st.sampled_from(["1", "20", "60"])),
    ),
    max_size=40,
)


@settings(
    max_examples=40,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(STEPS, st.integers(1, 3))
def test_whatever_happens_nothing_is_lost_nothing_overtakes_and_the_limit_holds(sqlite_database, steps, messages):
    """Each post has an alert of its own, so that each message shows what it tells of; then all that is left is told."""
    clock = FakeClock()
    empty(sqlite_database)
    outbox = limited(sqlite_database, clock, messages)
    stored, finished, held, times, contents = [], [], [], [], {}

    def settle(claimed):
        finished.extend(alert.fingerprint for alert in claimed.group.alerts)

    def claim():
        claimed = outbox.claim("one")
        if claimed is not None:
            known = contents.setdefault(claimed.idempotency_key, signs(claimed))
            assert known == signs(claimed)
        return claimed

    def deliver(claimed):
        outbox.delivered(claimed, {})
        settle(claimed)
        if claimed.summary or "critical" not in str(claimed.group):
            times.append(clock())

    for action, detail in steps:
        if action in ("post", "urgent"):
            name = f"{detail}{len(stored):03}"
            post(outbox, f"{name}+", key=detail, labels={"severity": "critical"} if action == "urgent" else {})
            stored.append(name)
        elif action == "wait":
            clock.advance(int(detail))
        elif action == "restart":
            outbox = restarted(sqlite_database, clock, messages)
            held.clear()
        elif (claimed := claim()) is not None:
            if action == "deliver":
                deliver(claimed)
            elif action == "postpone":
                outbox.postponed(claimed, clock() + 7, "no answer")
            elif action == "die":
                outbox.given_up(claimed, "refused")
                settle(claimed)
            else:
                held.append(claimed)
    for lost in held:
        outbox.lost(lost)
    for _ in range(3 + len(stored)):
        clock.advance(60)
        while (claimed := claim()) is not None:
            deliver(claimed)
    assert sorted(finished) == sorted(stored)
    for incident in "abc":
        assert [one for one in finished if one[0] == incident] == [one for one in stored if one[0] == incident]
    without_urgent = not any(action == "urgent" for action, _ in steps)
    if without_urgent:
        assert all(later - earlier >= 60 for earlier, later in zip(times, times[messages:], strict=False))


def test_a_receiver_that_asks_to_wait_is_left_alone_with_all_that_waits(outbox, clock):
    sent = []

    class Busy:
        def send(self, message):
            sent.append(message.notification)
            if len(sent) == 1:
                raise DeliveryFailed("busy", retryable=True, retry_after_seconds=90)
            return {}

    metrics, pause = BridgeMetrics(CollectorRegistry(), ["one"]), Pause()
    one, other = (
        Worker("one", Busy(), outbox, NoInsights(), clock, Backoff(1, 60), metrics, threading.Event(), pause)
        for _ in range(2)
    )
    post(outbox, "a+", key="a")
    post(outbox, "b+", key="b")
    assert one.step()
    assert not one.step()
    assert not other.step()
    assert other.next_at(clock()) == clock() + 90
    clock.advance(89)
    assert not other.step()
    clock.advance(1)
    assert other.step()
    assert one.step()
    assert len(sent) == 3


def test_a_receiver_that_asked_to_wait_is_not_left_alone_for_days_when_the_clock_is_set_back():
    pause = Pause()
    pause.extend(100_000)
    assert pause.holds(99_999)
    assert not pause.holds(100_000 - 86400)


def test_summaries_are_counted(limited_outbox, clock):
    registry = CollectorRegistry()
    metrics = BridgeMetrics(registry, ["one"])

    class Takes:
        def send(self, message):
            return {}

    worker = Worker("one", Takes(), limited_outbox, NoInsights(), clock, Backoff(1, 60), metrics, threading.Event())
    for name in "abcd":
        post(limited_outbox, f"{name}+", key=name)
    while worker.step():
        pass
    labels = {"receiver": "one"}
    assert registry.get_sample_value("cloudpulse_alert_bridge_summaries_total", labels) == 1
    assert registry.get_sample_value("cloudpulse_alert_bridge_summarised_notifications_total", labels) == 3
