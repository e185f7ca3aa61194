import pytest
from sqlalchemy import func, select

from alert_bridge import schema, webhook
from alert_bridge.history import History
from alert_bridge.notifier import Ack
from alert_bridge.notifiers.log import LogReceiver
from alert_bridge.outbox import Outbox
from alert_bridge.queueing import Terms
from alert_bridge.retention import STEP_ALERTS, STEP_EVENTS, STEP_GROUPS, Retention
from alert_bridge.router import Muted
from alert_bridge.testing import webhook_body
from cloudpulse.errors import StoreError

DAY = 86400


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request):
    return request.getfixturevalue(f"{request.param}_database")


@pytest.fixture
def retention(database, clock):
    return Retention(database, clock, seconds=30 * DAY, max_alerts=1000)


def group(*alerts, **changes):
    return webhook.parse(webhook_body(*alerts, **changes))


def tell(outbox, *alerts, deliver=True, **changes):
    """Store a group and deliver it."""
    stored = outbox.store(group(*alerts, **changes), {"one": list(range(len(alerts)))})
    if deliver:
        outbox.delivered(outbox.claim("one"), {})
    return stored.group_id


def left(database, table):
    with database.read() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def told(database):
    return [alert["fingerprint"] for alert in History(database).alerts({}, None, 1000).entries]


def test_what_is_over_and_old_goes_with_all_that_belongs_to_it(database, outbox, retention, clock):
    tell(outbox, ("a", "firing"))
    tell(outbox, ("a", "resolved"))
    outbox.acknowledge("a", Ack(by="jo", until=clock() + 60), lambda _: None)
    clock.advance(30 * DAY - 1)
    assert retention.prune() == 0
    assert retention.stored == 2
    clock.advance(2)
    assert retention.prune() == 2
    for table in (schema.groups, schema.alerts, schema.notifications, schema.events, schema.memories):
        assert left(database, table) == 0, table.name


def test_the_last_word_on_what_still_fires_stays(database, outbox, retention, clock):
    tell(outbox, ("early", "firing"))
    tell(outbox, ("late", "firing"))
    tell(outbox, ("gone", "firing"), key="elsewhere")
    tell(outbox, ("gone", "resolved"), key="elsewhere")
    tell(outbox, ("cut", "resolved"), key="truncated", truncatedAlerts=1)
    clock.advance(400 * DAY)
    retention.prune()
    assert told(database) == ["cut", "late"]


def test_who_was_told_once_hears_the_end_however_long_it_fires(database, outbox, retention, clock):
    """Its route is mute since, or another one takes the alert."""
    outbox.store(group(("a", "firing")), {"one": [0], "two": [0]})
    for receiver in ("one", "two"):
        outbox.delivered(outbox.claim(receiver), {})
    for n in range(3):
        clock.advance(20 * DAY)
        outbox.store(group(("a", "firing"), (f"b{n}", "firing")), {"two": [0, 1]})
        outbox.delivered(outbox.claim("two"), {})
        retention.prune()
    assert left(database, schema.groups) == 3, "the first, which `one` was told of, and those within the retention"
    named = {name: LogReceiver(name=name) for name in ("one", "two")}
    outbox.configure(Terms(600, 3600, named))
    outbox.store(group(("a", "resolved"), ("b2", "resolved")), {"two": [0, 1]})
    assert outbox.claim("one").group.over
    clock.advance(31 * DAY)
    retention.prune()
    assert left(database, schema.groups) == 1, "only the end that waits"


def test_what_a_mute_route_keeps_stays_until_it_is_decided(database, outbox, retention, clock):
    outbox.store(group(("a", "firing")), {}, {"one": Muted([0], clock() + 50 * DAY)})
    tell(outbox, ("a", "firing"), ("b", "resolved"))
    tell(outbox, ("a", "resolved"))
    clock.advance(49 * DAY)
    assert retention.prune() == 3
    assert [entry["state"] for entry in History(database).notifications({}, None, 9).entries] == ["muted"]


def test_what_waits_stays_however_old(database, outbox, retention, clock):
    tell(outbox, ("a", "resolved"), deliver=False)
    clock.advance(400 * DAY)
    assert retention.prune() == 0
    outbox.delivered(outbox.claim("one"), {})
    assert retention.prune() == 1


def test_dead_letters_are_kept_for_the_retention_even_when_there_is_too_much(database, outbox, clock):
    retention = Retention(database, clock, seconds=30 * DAY, max_alerts=1)
    tell(outbox, ("dead", "resolved"), key="dead", deliver=False)
    outbox.given_up(outbox.claim("one"), "refused")
    for number in range(3):
        tell(outbox, (f"{number}", "resolved"), key=str(number))
    retention.prune()
    assert told(database) == ["dead"]
    clock.advance(30 * DAY + 1)
    retention.prune()
    assert told(database) == []


def test_the_oldest_go_first_where_there_are_too_many(database, outbox, clock):
    retention = Retention(database, clock, seconds=30 * DAY, max_alerts=3)
    for number in range(5):
        clock.advance(1)
        tell(outbox, (f"{number}", "resolved"), key=str(number))
    assert retention.prune() == 2
    assert told(database) == ["4", "3", "2"]
    assert left(database, schema.events) == 8  # that of the second group's moment, and those after it
    retention.admit()


def test_full_of_what_must_stay_new_alerts_are_refused_until_there_is_room(database, outbox, clock):
    retention = Retention(database, clock, seconds=30 * DAY, max_alerts=2)
    for number in range(3):
        tell(outbox, (f"{number}", "resolved"), key=str(number), deliver=False)
    retention.admit()
    assert retention.prune() == 0
    with pytest.raises(
        StoreError, match=r"3 alerts are stored, more than max_stored_alerts \(2\).*see what is pending"
    ):
        retention.admit()
    outbox.delivered(outbox.claim("one"), {})
    assert retention.prune() == 1
    retention.admit()


def test_more_than_a_step_goes_in_steps(database, outbox, retention, clock):
    tell(outbox, *[(f"big{n}", "resolved") for n in range(STEP_ALERTS + 1)], key="big")
    for number in range(STEP_GROUPS + 5):
        tell(outbox, (f"{number}", "resolved" if number % 2 else "firing"), key=str(number))
    events = left(database, schema.events)
    assert events < STEP_EVENTS
    clock.advance(31 * DAY)
    retention.prune()
    assert len(told(database)) == (STEP_GROUPS + 5 + 1) // 2
    assert left(database, schema.events) == 0


def test_memories_go_when_nothing_tells_of_their_incident(database, outbox, retention, clock):
    outbox.store(group(("a", "resolved"), key="over"), {"one": [0]})
    outbox.delivered(outbox.claim("one"), {"ts": "1"})
    outbox.store(group(("b", "firing"), key="fires"), {"one": [0]})
    outbox.delivered(outbox.claim("one"), {"ts": "2"})
    clock.advance(31 * DAY)
    retention.prune()
    assert left(database, schema.memories) == 1
    outbox.store(group(("b", "resolved"), key="fires"), {"one": [0]})
    assert outbox.claim("one").memory == {"ts": "2"}


def test_a_file_stays_as_large_as_what_is_kept(sqlite_database, clock):
    """SQLite uses the room of what was deleted again."""
    outbox = Outbox(sqlite_database, clock, Terms(repeat_after=600, give_up_after=3600))
    retention = Retention(sqlite_database, clock, seconds=DAY, max_alerts=100)

    def pages():
        with sqlite_database.read() as connection:
            return connection.exec_driver_sql("PRAGMA page_count").scalar_one()

    sizes = []
    for number in range(400):
        clock.advance(60)
        tell(outbox, (f"{number}", "resolved"), key=str(number), labels={"filler": "x" * 500})
        if number % 50 == 49:
            retention.prune()
            sizes.append(pages())
    assert max(sizes) <= sizes[2] * 1.1
