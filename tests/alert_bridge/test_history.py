import pytest

from alert_bridge import webhook
from alert_bridge.history import History
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
