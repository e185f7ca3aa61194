"""What clients of the stream are told: live, after a break, and across the seam between both."""

import contextlib
import json
import random
import threading
import time

import pytest
from sqlalchemy import delete

from alert_bridge import events, stream, webhook
from alert_bridge.announcement import LARGEST
from alert_bridge.live import wish
from alert_bridge.notifier import Ack
from alert_bridge.schema import events as table
from alert_bridge.schema import groups
from alert_bridge.stream import Stream, Wish
from alert_bridge.testing import eventually, webhook_body
from cloudpulse.streaming import StreamEnded
from cloudpulse.websocket import Refused

PAGE = 20


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch):
    monkeypatch.setattr(stream, "PAGE", PAGE)


@pytest.fixture
def start(database, clock):
    """Starts a stream of the database that always has a listener; what is stored by then it reads from the table."""
    started = []

    def start_one():
        started.append(Stream(database, clock, lambda: 1, lambda: None))
        database.on_commit(started[-1].stored)
        started[-1].start()
        take(listen(started[-1]), 1)
        return started[-1]

    yield start_one
    for made in started:
        made.close()


@pytest.fixture
def running(start):
    return start()


def store(outbox, *fingerprints, key="{}"):
    group = webhook.parse(webhook_body(*[(name, "firing") for name in fingerprints], key=key))
    return outbox.store(group, {"one": list(range(len(fingerprints)))})


def listen(running, query=""):
    return running.feed(wish(query))


def take(feed, count):
    """The next so many messages."""
    got = []

    def more():
        while len(got) < count and (text := feed.pull()) is not None:
            got.append(json.loads(text))
        return len(got) == count

    eventually(more, 20)
    return got


def test_a_group_is_told_with_its_alerts_and_then_what_became_of_its_delivery(running, outbox, clock):
    feed = listen(running)
    assert take(feed, 1)[0]["kind"] == "hello"
    store(outbox, "a", "b")
    told = take(feed, 1)[0]
    assert told["kind"] == "alerts"
    assert told["at"] == "2023-11-14T22:13:20+00:00"
    assert [(alert["fingerprint"], alert["status"]) for alert in told["alerts"]] == [("a", "firing"), ("b", "firing")]
    first = outbox.claim("one")
    outbox.postponed(first, clock() + 1, "one answered 503")
    clock.advance(2)
    again = outbox.claim("one")
    outbox.given_up(again, "one answered 400")
    outbox.retry(again.id)
    outbox.delivered(outbox.claim("one"), {})
    outbox.acknowledge("a", Ack("ann", clock() + 60), lambda _: None)
    late, dead, retried, sent, acked = take(feed, 5)
    assert (late["kind"], late["receiver"], late["error"], late["attempt"]) == ("pending", "one", "one answered 503", 1)
    assert (dead["kind"], dead["error"], dead["labels"]) == ("dead", "one answered 400", {"alertname": "Test"})
    assert (retried["kind"], retried["notificationId"]) == ("pending", again.id)
    assert (sent["kind"], sent["status"]) == ("delivered", "firing")
    assert (acked["kind"], acked["fingerprint"], acked["by"]) == ("acked", "a", "ann")
    ids = [one["id"] for one in (told, late, dead, retried, sent, acked)]
    assert ids == sorted(set(ids))


@pytest.mark.parametrize("budget", [stream.PAGE_BYTES, 2000])
def test_a_client_that_comes_back_hears_what_it_missed_first(start, outbox, monkeypatch, budget):
    monkeypatch.setattr(stream, "PAGE_BYTES", budget)
    for number in range(3 * PAGE):
        store(outbox, str(number), key=str(number))
    feed = listen(start(), "after=7")
    hello, *missed = take(feed, 3 * PAGE - 6)
    assert (hello["kind"], hello["id"]) == ("hello", 7)
    assert [one["id"] for one in missed] == list(range(8, 3 * PAGE + 1))
    store(outbox, "new", key="new")
    assert take(feed, 1)[0]["id"] == 3 * PAGE + 1


def test_the_last_few_are_told_on_request(start, outbox):
    for number in range(5):
        store(outbox, str(number), key=str(number))
    running = start()
    hello, *told = take(listen(running, "last=2"), 3)
    assert [hello["id"], *(one["id"] for one in told)] == [3, 4, 5]
    assert [one["id"] for one in take(listen(running, "last=100"), 6)] == [0, 1, 2, 3, 4, 5]


def test_an_id_that_retention_has_removed_gets_a_reset_and_what_is_kept(start, outbox, database):
    for number in range(5):
        store(outbox, str(number), key=str(number))
    database.write(lambda connection: connection.execute(delete(table).where(table.c.id <= 3)))
    running = start()
    reset, *told = take(listen(running, "after=1"), 3)
    assert (reset["kind"], reset["id"]) == ("reset", 3)
    assert "the events kept are 4 to 5" in reset["reason"]
    assert [one["id"] for one in told] == [4, 5]
    assert take(listen(running, "after=3"), 1)[0]["kind"] == "hello"


def test_an_id_of_another_database_gets_a_reset(running, outbox):
    store(outbox, "a")
    reset, told = take(listen(running, "after=900"), 2)
    assert (reset["kind"], reset["id"], told["id"]) == ("reset", 0, 1)


@pytest.mark.parametrize("query", ["kinds=dead,acked", "kinds=delivered&receiver=one", "receiver=two"])
def test_filters_hold_live_and_in_what_was_missed(start, outbox, query):
    live = listen(start(), query)
    take(live, 1)
    for number in range(3):
        store(outbox, str(number), key=str(number))
        outbox.delivered(outbox.claim("one"), {})
    outbox.acknowledge("0", Ack("ann", 1), lambda _: None)
    outbox.given_up(outbox.claim("one"), "no")
    expected = {
        "kinds=dead,acked": ["acked", "dead"],
        "kinds=delivered&receiver=one": ["delivered"] * 3,
        "receiver=two": ["alerts"] * 3 + ["acked"],
    }[query]
    assert [one["kind"] for one in take(live, len(expected))] == expected
    assert [one["kind"] for one in take(listen(start(), f"after=0&{query}"), len(expected) + 1)[1:]] == expected


def test_no_event_is_lost_or_told_twice_by_clients_that_come_and_go_under_load(start, outbox, monkeypatch):
    """With so few events in memory, each of them crosses from the table to what is live and back more than once."""
    monkeypatch.setattr(stream, "KEPT", 40)
    running = start()
    dice, stop = random.Random(5), threading.Event()

    def write(place):
        number = 0
        while not stop.is_set():
            store(outbox, "a", key=f"{place} {number}")
            number += 1

    writers = [threading.Thread(target=write, args=(place,)) for place in range(2)]
    for writer in writers:
        writer.start()
    heard = [0]
    for _ in range(40):
        feed = listen(running, f"after={heard[-1]}")
        take(feed, 1)
        with contextlib.suppress(StreamEnded):  # too slow: it comes back
            for _ in range(dice.randrange(1, 60)):
                heard += [one["id"] for one in take(feed, 1)]
    stop.set()
    for writer in writers:
        writer.join()
    assert heard == list(range(len(heard)))
    assert len(heard) > 200


def test_a_client_too_far_behind_is_told_where_to_come_back(start, outbox, monkeypatch):
    monkeypatch.setattr(stream, "KEPT", 3)
    running = start()
    feed = listen(running)
    take(feed, 1)
    assert feed.pull() is None  # it has caught up
    for number in range(5):
        store(outbox, str(number), key=str(number))
    watcher = listen(running, "after=4")
    take(watcher, 2)
    with pytest.raises(StreamEnded, match="come back with after=0"):
        feed.pull()
    assert [one["id"] for one in take(listen(running, "after=0"), 6)] == [0, 1, 2, 3, 4, 5]


def test_a_huge_group_is_cut_to_what_clients_accept_and_says_so(running, outbox):
    feed = listen(running)
    take(feed, 1)
    alerts = [(str(number), "firing") for number in range(2000)]
    group = webhook.parse(webhook_body(*alerts, labels={"text": "x" * 400}))
    outbox.store(group, {"one": list(range(2000))})
    told = take(feed, 1)[0]
    assert len(json.dumps(told, separators=(",", ":"))) < LARGEST + 4096
    assert 300 < len(told["alerts"]) == 2000 - told["omitted"]


def test_a_message_stays_small_however_large_a_label_is(running, outbox):
    feed = listen(running)
    take(feed, 1)
    group = webhook.parse(webhook_body(commonLabels={"alertname": "x" * 2**20}))
    outbox.store(group, {"one": [0]})
    outbox.delivered(outbox.claim("one"), {})
    told, sent = take(feed, 2)
    assert (told["kind"], told["groupId"], told["alerts"], told["omitted"]) == ("alerts", 1, [], 1)
    assert (sent["kind"], sent["receiver"]) == ("delivered", "one")
    assert "labels" not in sent


def test_events_whose_group_is_not_kept_are_passed_over(start, outbox, database):
    for number in range(PAGE + 5):
        store(outbox, str(number), key=str(number))
    database.write(lambda connection: connection.execute(delete(groups).where(groups.c.id <= PAGE + 3)))
    assert [one["id"] for one in take(listen(start(), "after=0"), 3)] == [0, PAGE + 4, PAGE + 5]


def test_while_nobody_listens_nothing_is_read(database, outbox, clock, monkeypatch):
    listeners, reads, read = [], [], events.read
    monkeypatch.setattr(events, "read", lambda *given: reads.append(given) or read(*given))
    made = Stream(database, clock, lambda: len(listeners), lambda: None)
    database.on_commit(made.stored)
    made.start()
    with contextlib.closing(made):
        store(outbox, "before")
        time.sleep(1)
        assert not reads
        listeners.append(1)
        feed = listen(made)
        assert take(feed, 1)[0]["id"] == 1
        store(outbox, "after")
        assert [alert["fingerprint"] for alert in take(feed, 1)[0]["alerts"]] == ["after"]


def test_what_another_process_stores_is_told_without_being_woken(database, outbox, clock):
    made = Stream(database, clock, lambda: 1, lambda: None)  # not told of commits
    made.start()
    with contextlib.closing(made):
        feed = listen(made)
        take(feed, 1)
        store(outbox, "a")
        assert take(feed, 1)[0]["kind"] == "alerts"


def test_parameters_are_understood():
    assert wish("") == Wish()
    assert wish("after=0") == Wish(after=0)
    asked = wish("after=12&kinds=alerts,dead&receiver=a%20b,c")
    assert asked == Wish(12, None, frozenset({"alerts", "dead"}), frozenset({"a b", "c"}))


@pytest.mark.parametrize(
    "query",
    [
        "after=-1",
        "after=x",
        "after=1&after=2",
        "after=99999999999999999999",
        "after=1&last=1",
        "last=1001",
        "kinds=",
        "kinds=all",
        "x=1",
        "&",
    ],
)
def test_parameters_that_mean_nothing_are_refused(query):
    with pytest.raises(Refused):
        wish(query)
