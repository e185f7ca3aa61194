"""With a real Alertmanager, which says nothing of the end of what is silenced."""

import json
from datetime import UTC, datetime, timedelta

import pytest
import requests

from alert_bridge import alertmanager as module
from alert_bridge import webhook
from alert_bridge.acks import Acks
from alert_bridge.alertmanager import Alertmanager, AlertmanagerSettings, AlertmanagerUnavailable
from alert_bridge.ends import Ends
from alert_bridge.links import Links
from alert_bridge.notifier import RateLimit
from alert_bridge.notifiers.log import LogReceiver
from alert_bridge.outbox import Outbox
from alert_bridge.queueing import Terms
from alert_bridge.testing import eventually, webhook_body
from alert_bridge.testing_alertmanager import PROGRAM
from alert_bridge.testing_alertmanager import Alertmanager as Process
from cloudpulse.durations import Duration

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs Alertmanager: sh .ci/programs test")


@pytest.fixture
def process(tmp_path):
    with Process(tmp_path / "alertmanager", "http://127.0.0.1:1") as running:
        yield running


@pytest.fixture
def clock():
    return lambda: datetime.now(UTC).timestamp()


@pytest.fixture
def outbox(database, clock):
    return Outbox(database, clock, Terms(600, 3600, {"one": LogReceiver(name="one")}))


@pytest.fixture
def told():
    return []


@pytest.fixture
def ends(process, database, outbox, clock, told):
    return Ends(database, outbox, Alertmanager(AlertmanagerSettings(url=process.url), False), told.extend, clock)


@pytest.fixture
def take(process, database, outbox, clock):
    acks = Acks(
        database, outbox, AlertmanagerSettings(url=process.url), False, Links(None, "key", 60, clock), list, clock
    )
    return lambda fingerprint: acks.take(fingerprint, "ann", 600, "")


def fires(process, *pods, ends_in=600):
    """At Alertmanager; gives the fingerprints by pod."""
    end = (datetime.now(UTC) + timedelta(seconds=ends_in)).isoformat()
    process.tell(*({"labels": {"alertname": "Test", "pod": pod}, "endsAt": end} for pod in pods))

    def known():
        found = requests.get(f"{process.url}/api/v2/alerts", timeout=5).json()
        return {one["labels"]["pod"]: one["fingerprint"] for one in found}

    if ends_in > 0:
        eventually(lambda: set(pods) <= set(known()))
    else:
        eventually(lambda: not set(pods) & set(known()))
    return known()


def store(outbox, fingerprints, status="firing"):
    body = json.loads(webhook_body(*((pod, status) for pod in fingerprints)))
    for alert in body["alerts"]:
        alert["fingerprint"] = fingerprints[alert["fingerprint"]]
    group = webhook.parse(json.dumps(body).encode())
    outbox.store(group, {"one": list(range(len(group.alerts)))})


def delivered(outbox):
    found = []
    while (claimed := outbox.claim("one")) is not None:
        outbox.delivered(claimed, {})
        found.append({alert.labels["pod"]: alert.firing for alert in claimed.group.alerts})
    return found


@pytest.fixture
def settled(monkeypatch):
    monkeypatch.setattr(module, "SETTLED", timedelta(0))


def test_who_was_told_of_a_taken_alert_hears_of_its_end_once(process, outbox, ends, take, told, settled):
    names = fires(process, "a")
    store(outbox, names)
    take(names["a"])
    delivered(outbox)
    ends.look()
    assert delivered(outbox) == []
    fires(process, "a", ends_in=-1)
    ends.look()
    assert told == ["one"]
    assert delivered(outbox) == [{"a": False}]
    ends.look()
    assert delivered(outbox) == []


def test_the_incident_is_not_closed_while_others_of_it_fire(process, outbox, ends, take, settled):
    names = fires(process, "a", "b")
    store(outbox, names)
    take(names["a"])
    delivered(outbox)
    ends.look()
    fires(process, "a", ends_in=-1)
    ends.look()
    assert delivered(outbox) == [{"a": False, "b": True}]


def test_a_group_that_alertmanager_calls_resolved_is_not_over_while_a_taken_alert_of_it_fires(
    process, outbox, ends, take, settled
):
    """It leaves out what is silenced, and so tells of the others as if they were all."""
    names = fires(process, "a", "b")
    store(outbox, names)
    take(names["a"])
    delivered(outbox)
    ends.look()
    store(outbox, {"b": names["b"]}, "resolved")
    claimed = outbox.claim("one")
    assert (claimed.group.over, claimed.group.truncated_alerts) == (False, 1)
    outbox.delivered(claimed, {})
    fires(process, "a", ends_in=-1)
    ends.look()
    last = outbox.claim("one")
    assert last.group.over
    assert [alert.firing for alert in last.group.alerts] == [False]


def test_nor_does_a_summary_call_it_over(process, database, clock, take, settled):
    limit = RateLimit(messages=1, per=Duration(60))
    limited = Outbox(database, clock, Terms(600, 3600, {"one": LogReceiver(name="one", rate_limit=limit)}))
    names = fires(process, "a", "b")
    store(limited, names)
    limited.delivered(limited.claim("one"), {"message": "1"})
    take(names["a"])
    store(limited, {"b": names["b"]}, "resolved")
    limited.configure(Terms(600, 3600, {"one": LogReceiver(name="one", rate_limit=RateLimit(messages=2))}))
    summary = limited.claim("one")
    assert summary.summary.notifications == 2
    assert summary.summary.ended == ()
    assert not summary.group.over


def test_an_alert_of_another_alertmanager_does_not_end_because_this_one_has_never_heard_of_it(
    outbox, ends, take, settled
):
    store(outbox, {"far": "0123456789abcdef"})
    take("0123456789abcdef")
    delivered(outbox)
    ends.look()
    ends.look()
    assert delivered(outbox) == []


def test_what_nobody_has_taken_is_left_to_alertmanager(process, outbox, ends, settled):
    store(outbox, {"gone": "0123456789abcdef"})
    delivered(outbox)
    ends.look()
    assert delivered(outbox) == []


def test_an_alertmanager_that_was_started_just_now_knows_too_little(process, outbox, ends, take, monkeypatch):
    """It has forgotten every alert, and Prometheus tells them again within minutes."""
    names = fires(process, "a")
    store(outbox, names)
    take(names["a"])
    delivered(outbox)
    with monkeypatch.context() as long_ago:
        long_ago.setattr(module, "SETTLED", timedelta(0))
        ends.look()
    fires(process, "a", ends_in=-1)
    ends.look()
    assert delivered(outbox) == []
    with pytest.raises(AlertmanagerUnavailable, match="was started just now"):
        Alertmanager(AlertmanagerSettings(url=process.url), False).fires("x", {})


def test_labels_of_any_text_are_asked_for_as_they_are(process, settled):
    odd = 'q"uo\\te, {a="b"} ü\n$1'
    process.tell({"labels": {"alertname": "Test", "pod": odd}})
    asked = Alertmanager(AlertmanagerSettings(url=process.url), False)
    known = requests.get(f"{process.url}/api/v2/alerts", timeout=5).json()
    assert asked.fires(known[0]["fingerprint"], {"alertname": "Test", "pod": odd})
    assert not asked.fires("0000000000000000", {"alertname": "Test", "pod": "other"})
