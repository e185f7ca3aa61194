"""What fires now, on both databases: kept up as groups come and go, and found without a look at the history."""

import contextlib
import sqlite3

import pytest
from sqlalchemy import delete

from alert_bridge import schema, webhook
from alert_bridge.database import Database
from alert_bridge.history import History
from alert_bridge.retention import Retention
from alert_bridge.schema import FIRING
from alert_bridge.sqlite_file import FILE, SqliteFile
from alert_bridge.story import Stories
from alert_bridge.testing import webhook_body
from tests.alert_bridge.test_history import plan_of
from tests.alert_bridge.test_migrations import old_file

DAY = 86400


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request):
    return request.getfixturevalue(f"{request.param}_database")


def tell(outbox, *alerts, **changes):
    group = webhook.parse(webhook_body(*alerts, **changes))
    return outbox.store(group, {"one": list(range(len(alerts)))})


def current(database, **filters):
    page = History(database).alerts(filters, None, 100, current=True)
    return [(entry["fingerprint"], entry["groupId"]) for entry in page.entries]


def test_an_alert_of_two_incidents_fires_until_both_have_ended(database, outbox, clock):
    tell(outbox, ("a", "firing"), key="first")
    tell(outbox, ("a", "firing"), key="second")
    tell(outbox, ("a", "resolved"), key="second")
    assert current(database) == [("a", 1)]
    assert Stories(database, clock).standing("a").firing
    assert Stories(database, clock).of("a")["firing"]
    tell(outbox, ("a", "resolved"), key="first")
    assert current(database) == []
    assert not Stories(database, clock).standing("a").firing


def test_what_a_group_leaves_out_fires_on(database, outbox):
    """Alertmanager leaves out what is silenced, as an acked alert is."""
    tell(outbox, ("a", "firing"), ("b", "firing"))
    tell(outbox, ("b", "firing"), ("c", "firing"))
    assert current(database) == [("c", 2), ("b", 2), ("a", 1)]


def test_the_last_word_on_an_alert_counts_within_a_body_too(database, outbox):
    tell(outbox, ("a", "firing"), ("a", "resolved"), ("b", "resolved"), ("b", "firing"))
    assert current(database) == [("b", 1)]


@pytest.mark.parametrize("name", ["alertname", "fingerprint", "incident", "status"])
def test_every_filter_narrows_what_fires(database, outbox, name):
    one = webhook.parse(webhook_body(("a", "firing"), key="first", labels={"alertname": "One"}))
    outbox.store(one, {"one": [0]})
    tell(outbox, ("b", "firing"), key="second")
    wanted = {"alertname": "One", "fingerprint": "a", "incident": one.incident, "status": "resolved"}[name]
    assert current(database, **{name: wanted}) == ([] if name == "status" else [("a", 1)])


def test_what_is_no_longer_kept_does_not_fire(database, outbox, clock):
    retention = Retention(database, clock, seconds=30 * DAY, max_alerts=1000)
    tell(outbox, ("a", "firing"), ("b", "firing"))
    outbox.delivered(outbox.claim("one"), {})
    tell(outbox, ("b", "firing"), ("c", "firing"))
    outbox.delivered(outbox.claim("one"), {})
    clock.advance(31 * DAY)
    retention.prune()
    assert current(database) == [("c", 2), ("b", 2)]


def test_an_old_firing_that_is_kept_longer_than_its_end_does_not_fire_again(database, outbox, clock):
    """A dead letter is kept for a person, while the end of its alert may go."""
    tell(outbox, ("a", "firing"))
    ended = tell(outbox, ("a", "resolved"))

    def end_goes(connection):
        connection.execute(delete(schema.notifications).where(schema.notifications.c.group_id == ended.group_id))
        connection.execute(delete(schema.groups).where(schema.groups.c.id == ended.group_id))

    database.write(end_goes)
    assert current(database) == []
    assert not Stories(database, clock).of("a")["firing"]


def test_an_old_file_knows_what_fires(tmp_path):
    """Of its three incidents one has ended."""
    old = old_file(tmp_path)
    with contextlib.closing(sqlite3.connect(old / FILE)) as connection:
        rows = connection.execute(
            "SELECT groups.incident, fingerprint, alerts.status, alerts.id FROM alerts JOIN groups"
            " ON groups.id = group_id ORDER BY alerts.id"
        ).fetchall()
    last = {(incident, fingerprint): (status, alert_id) for incident, fingerprint, status, alert_id in rows}
    fires = sorted((alert_id for status, alert_id in last.values() if status == FIRING), reverse=True)
    database = Database(SqliteFile(old))
    assert [entry["id"] for entry in History(database).alerts({}, None, 100, current=True).entries] == fires
    assert 0 < len(fires) < len(rows)
    database.close()


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        ({}, "SCAN firing USING INDEX firing_by_alert"),
        ({"alertname": "Test"}, "SEARCH firing USING INDEX firing_by_name (alertname=?)"),
        ({"fingerprint": "a"}, "SEARCH firing USING INDEX firing_by_fingerprint (fingerprint=?)"),
    ],
)
def test_what_fires_is_found_by_an_index_in_its_order(sqlite_database, filters, index):
    plan = plan_of(sqlite_database, lambda history: history.alerts(filters, None, 9, current=True))
    assert [step.replace("COVERING ", "") for step in plan] == [
        index,
        "SEARCH alerts USING INTEGER PRIMARY KEY (rowid=?)",
    ]
