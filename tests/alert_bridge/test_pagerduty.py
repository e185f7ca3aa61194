"""What PagerDuty is told: incidents that open, are acknowledged and close exactly when ours do."""

import dataclasses
import json
import time

import msgspec
import pytest

from alert_bridge import notifiers, webhook
from alert_bridge.insight import NOTHING, Insight
from alert_bridge.notifier import Ack, Message, Notification, Surroundings
from alert_bridge.notifiers.pagerduty import EVENT_BYTES, PagerDutyReceiver
from alert_bridge.testing import webhook_body
from cloudpulse.config import Secret, parse
from cloudpulse.errors import ConfigError
from cloudpulse.testing import FakeClock

FIRING, OVER = ("a", "firing"), ("a", "resolved")


def notification(*alerts, receiver="one", ack=None, **changes):
    group = webhook.parse(webhook_body(*alerts, **changes))
    return Notification(
        id=7,
        receiver=receiver,
        idempotency_key="key",
        attempt=1,
        stored_at=0,
        give_up_at=1,
        group=group,
        ack=ack,
    )


@pytest.fixture
def tell(receiver):
    """Send as a receiver with these settings; returns the events that PagerDuty got."""
    app, url = receiver
    app.answer = lambda post: (202, {})

    def send(told, insight=NOTHING, ack_url="", clock=time.time, **settings):
        made = PagerDutyReceiver(name="one", routing_key=Secret("integration-key"), url=f"{url}/v2/enqueue", **settings)
        assert notifiers.build(made, Surroundings(clock)).send(Message(told, insight, ack_url)) == {}
        return [post["body"] for post in app.posts]

    return send


def test_an_incident_opens_and_closes_under_one_key(tell):
    tell(notification(FIRING))
    tell(notification(FIRING, ("b", "firing")))
    tell(notification(FIRING, ("b", "resolved")))
    opened, more, fewer, closed = tell(notification(OVER, ("b", "resolved")))
    assert [event["event_action"] for event in (opened, more, fewer, closed)] == ["trigger"] * 3 + ["resolve"]
    assert len({event["dedup_key"] for event in (opened, more, fewer, closed)}) == 1
    assert {event["routing_key"] for event in (opened, more, fewer, closed)} == {"integration-key"}
    assert set(closed) == {"routing_key", "event_action", "dedup_key"}


def test_incidents_and_receivers_have_keys_of_their_own(tell):
    """Two receivers may share a routing key; the end of what one was told must not close the other's."""
    tell(notification(FIRING))
    tell(notification(FIRING, key="elsewhere"))
    events = tell(notification(FIRING, receiver="two"))
    assert len({event["dedup_key"] for event in events}) == 3


def test_an_incident_stays_open_while_alertmanager_leaves_alerts_out(tell):
    assert tell(notification(OVER, truncatedAlerts=1)) == []
    (event,) = tell(notification(OVER, ("b", "firing"), truncatedAlerts=1))
    assert event["event_action"] == "trigger"
    assert event["payload"]["custom_details"]["alerts_left_out"] == 1


def test_an_ack_of_the_whole_incident_acknowledges_it_and_no_other_does(tell):
    clock = FakeClock()
    taken = Ack(by="ann", until=clock() + 3600)
    assert tell(notification(FIRING, ack=msgspec.structs.replace(taken, whole=False)), clock=clock) == []
    assert tell(notification(FIRING, ack=msgspec.structs.replace(taken, until=clock())), clock=clock) == []
    (event,) = tell(notification(FIRING, ack=taken), clock=clock)
    assert event["event_action"] == "acknowledge"
    opened = tell(notification(FIRING))[-1]
    assert event["dedup_key"] == opened["dedup_key"]


@pytest.mark.parametrize(
    ("label", "severity"),
    [
        ("critical", "critical"),
        ("PAGE", "critical"),
        ("high", "error"),
        ("warning", "warning"),
        ("info", "info"),
        ("", "error"),
        ("odd", "error"),
        ("p3", "warning"),
        ("high-ish", "info"),
    ],
)
def test_the_label_severity_is_mapped(label, severity, tell):
    (event,) = tell(notification(FIRING, labels={"severity": label}), severities={"P3": "warning", "high-ish": "info"})
    assert event["payload"]["severity"] == severity


def test_the_worst_that_fires_decides(tell):
    told = notification(FIRING, ("b", "firing"), ("c", "resolved"))
    severities = ("info", "warning", "critical")
    alerts = tuple(
        msgspec.structs.replace(alert, labels=alert.labels | {"severity": severity})
        for alert, severity in zip(told.group.alerts, severities, strict=True)
    )
    told = dataclasses.replace(told, group=msgspec.structs.replace(told.group, alerts=alerts))
    assert tell(told)[0]["payload"]["severity"] == "warning"


def test_the_event_says_what_and_since_when(tell):
    body = json.loads(webhook_body(FIRING, ("b", "resolved"), labels={"instance": "web-1:9100", "severity": "page"}))
    body["alerts"][0] |= {
        "generatorURL": "http://prometheus.example/graph?g0.expr=up",
        "annotations": {"runbook_url": "https://runbooks.example/x", "dashboard": "javascript:alert(1)"},
    }
    body["commonLabels"]["instance"] = "web-1:9100"
    told = dataclasses.replace(notification(), group=webhook.parse(json.dumps(body).encode()))
    insight = Insight(picture=b"not sent", values={"a": 0.97, "b": float("nan")})
    (event,) = tell(told, insight, "https://bridge.example/ack/a", client_url="https://bridge.example/")
    payload = event["payload"]
    assert payload["timestamp"] == "2026-11-23T14:32:05.680718Z"
    assert payload["source"] == "web-1:9100"
    assert payload["class"] == "Test"
    assert "Test" in payload["summary"]
    details = payload["custom_details"]
    assert (details["firing"], details["resolved"]) == (1, 1)
    assert details["alerts"][0]["labels"]["pod"] == "a"
    assert [alert.get("value") for alert in details["alerts"]] == [0.97, None]
    assert [link["href"] for link in event["links"]] == [
        "https://bridge.example/ack/a",
        "https://runbooks.example/x",
        "http://prometheus.example/graph?g0.expr=up",
        "http://alertmanager.example:9093",
    ]
    assert event["client"] == "CloudPulse"
    assert event["client_url"] == "https://bridge.example/"
    assert "images" not in event


def test_an_event_is_never_larger_than_pagerduty_takes(receiver, tell):
    long = {f"label{i}": "\u0001" * 5000 for i in range(30)}
    tell(notification(*((f"{i:03}", "firing") for i in range(200)), labels=long | {"alertname": "x" * 5000}))
    (post,) = receiver[0].posts
    assert len(post["raw"]) <= EVENT_BYTES
    payload = post["body"]["payload"]
    assert len(payload["summary"]) <= 1024
    shown = len(payload["custom_details"]["alerts"])
    assert shown + payload["custom_details"]["alerts_left_out"] == 200
    assert shown > 0


def section(lines):
    from alert_bridge.config import AlertBridgeSettings

    text = "alert_bridge:\n  receivers:\n  - type: pagerduty\n    name: one\n" + lines
    return parse(text, "cloudpulse.yaml", {}).section("alert_bridge", AlertBridgeSettings).receivers[0]


def test_the_region_says_where_events_go():
    made = notifiers.build(section("    routing_key: x\n    region: eu\n"))
    assert made._client.place == "https://events.eu.pagerduty.com"
    assert notifiers.build(section("    routing_key: x\n"))._client.place == "https://events.pagerduty.com"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "expected exactly one of routing_key and routing_key_file"),
        ("    routing_key: x\n    region: asia\n", "region: expected one of eu, us"),
        ("    routing_key: x\n    url: events\n", "url: expected a URL"),
        ("    routing_key: x\n    client_url: 'javascript:x'\n", "client_url: expected a URL"),
        ("    routing_key: x\n    timeout: 0s\n", "timeout: expected more than 0s"),
        ("    routing_key: x\n    severities: {p1: urgent}\n", "severities"),
        ("    routing_key: x\n    rate_limit: {messages: 1, per: 1m}\n", "rate_limit"),
    ],
)
def test_what_can_not_work_is_refused_at_start(lines, message):
    with pytest.raises(ConfigError, match=message):
        section(lines)
