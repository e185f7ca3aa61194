import pytest
from sqlalchemy import event

from alert_bridge import webhook
from alert_bridge.history import History
from alert_bridge.outbox import Outbox
from alert_bridge.queueing import Terms
from alert_bridge.testing import webhook_body


def group(*alerts, **changes):
    return webhook.parse(webhook_body(*alerts, **changes))


FIRST = group(("a", "firing"))


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request):
    return request.getfixturevalue(f"{request.param}_database")


def test_pages_are_stable_while_new_entries_come(database, outbox, clock):
    history = History(database)
    for n in range(5):
        outbox.store(group((f"f{n}", "firing"), key=str(n)), {"one": [0]})
    first = history.alerts({}, None, 2)
    outbox.store(FIRST, {"one": [0]})
    second = history.alerts({}, first.before, 2)
    third = history.alerts({}, second.before, 2)
    names = [entry["fingerprint"] for page in (first, second, third) for entry in page.entries]
    assert names == ["f4", "f3", "f2", "f1", "f0"]
    assert third.before is None


def test_history_is_filtered(database, outbox):
    history = History(database)
    outbox.store(FIRST, {"one": [0], "two": [0]})
    outbox.store(group(("b", "resolved"), key="elsewhere"), {"one": [0]})
    outbox.given_up(outbox.claim("two"), "refused")
    assert [entry["fingerprint"] for entry in history.alerts({"status": "resolved"}, None, 9).entries] == ["b"]
    assert [entry["fingerprint"] for entry in history.alerts({"incident": FIRST.incident}, None, 9).entries] == ["a"]
    (dead,) = history.notifications({"state": "dead"}, None, 9).entries
    assert (dead["receiver"], dead["lastError"], dead["dueAt"]) == ("two", "refused", None)
    assert len(history.notifications({"receiver": "one"}, None, 9).entries) == 2


@pytest.mark.parametrize(
    "filters", [{"status": "firing"}, {"alertname": "Test"}, {"fingerprint": "a"}, {"incident": "i"}]
)
@pytest.mark.parametrize("also", [{}, {"status": "firing"}, {"alertname": "Test"}])
@pytest.mark.parametrize("before", [None, 500])
def test_a_page_of_alerts_is_found_by_an_index_in_its_order(sqlite_database, filters, also, before):
    plan = plan_of(sqlite_database, lambda history: history.alerts(filters | also, before, 9))
    narrow = next((name for name in ("fingerprint", "incident", "alertname") if name in filters | also), "status")
    index = "alerts_by_name" if narrow == "alertname" else f"alerts_by_{narrow}"
    assert plan == [f"SEARCH alerts USING INDEX {index} ({narrow}=?{' AND id<?' if before else ''})"]


@pytest.mark.parametrize(
    "filters", [{"state": "dead"}, {"receiver": "one"}, {"incident": "i"}, {"receiver": "one", "state": "dead"}]
)
def test_a_page_of_notifications_is_found_by_an_index_in_its_order(sqlite_database, filters):
    plan = plan_of(sqlite_database, lambda history: history.notifications(filters, None, 9))
    column = next(iter(filters))
    index = "unfinished (state=? AND receiver=?)" if len(filters) == 2 else f"by_{column} ({column}=?)"
    assert plan == [
        f"SEARCH notifications USING INDEX notifications_{index}",
        "SEARCH groups USING INTEGER PRIMARY KEY (rowid=?)",
    ]


def test_the_backlog_is_counted_from_an_index_alone(sqlite_database, clock):
    outbox = Outbox(sqlite_database, clock, Terms(repeat_after=600, give_up_after=3600))
    plan = plan_of(sqlite_database, lambda _: outbox.backlog())
    assert plan == ["SEARCH notifications USING COVERING INDEX notifications_unfinished (state=?)"]


def plan_of(database, ask):
    """How SQLite answers the query that `ask` makes."""
    asked = []

    def hear(connection, cursor, statement, parameters, context, many):
        asked.append((statement, parameters))

    event.listen(database._backend.engine, "before_cursor_execute", hear)
    ask(History(database))
    event.remove(database._backend.engine, "before_cursor_execute", hear)
    ((statement, parameters),) = [one for one in asked if one[0].startswith("SELECT")]
    with database.read() as connection:
        return [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
