import json
import re
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_bridge import webhook
from alert_bridge.testing import webhook_body
from alert_bridge.webhook import InvalidBody

CAPTURED = sorted((Path(__file__).parent / "fixtures").glob("*.json"))


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def captured(name: str) -> webhook.AlertGroup:
    path = Path(__file__).parent / "fixtures" / f"{name}.json"
    return webhook.parse(json.dumps(json.loads(path.read_text(encoding="utf-8"))["body"]).encode())


@pytest.mark.parametrize("path", CAPTURED, ids=lambda path: path.stem)
def test_what_alertmanager_sent_survives_parsing_and_keeping(path):
    sent = json.loads(path.read_text(encoding="utf-8"))["body"]
    group = webhook.parse(json.dumps(sent).encode())
    assert webhook.join(*webhook.split(group)) == group
    shown = json.loads(msgspec.json.encode(group))
    for alert, told in zip(shown["alerts"], sent["alerts"], strict=True):
        for key in ("startsAt", "endsAt"):  # Go's nanoseconds are rounded to microseconds
            assert abs(moment(alert.pop(key)) - moment(told.pop(key))) <= timedelta(microseconds=1)
    assert shown.pop("notification_reason") == ""
    assert shown == sent


def test_an_alert_fires_by_its_own_status():
    gone, firing = captured("partially-resolved").alerts
    assert (gone.firing, firing.firing) == (False, True)
    assert gone.ended_at is not None
    assert firing.ended_at is None


def test_a_group_with_alerts_left_out_is_never_over():
    whole = captured("resolved")
    assert whole.over
    assert not msgspec.structs.replace(whole, truncated_alerts=1).over
    assert not captured("truncated-max-alerts").over


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'\xff{"version": "4"}',
        webhook_body(version="3"),
        webhook_body(alerts=[]),
        webhook_body(groupKey=""),
        webhook_body(groupKey=7),
        webhook_body(status="pending"),
        webhook_body(truncatedAlerts="3"),
        webhook_body(commonLabels={"a": 1}),
        webhook_body().replace(b"2026-11-23T14:32:05.680718Z", b"yesterday"),
        webhook_body().replace(b"2026-11-23T14:32:05.680718Z", b"2026-11-23T14:32:05"),
        webhook_body().replace(b'"Test"', b'"\\ud800"'),
    ],
)
def test_what_can_never_be_valid_is_refused(body):
    with pytest.raises(InvalidBody, match="not an Alertmanager webhook of version 4"):
        webhook.parse(body)


@pytest.mark.parametrize(
    ("name", "time"),
    [("startsAt", "0001-01-01T00:00:00+01:00"), ("startsAt", "9999-12-31T23:59:59-01:00"),
     ("endsAt", "9999-12-31T23:59:59-01:00")],
)  # fmt: skip
def test_a_time_that_utc_can_not_say_is_refused_not_tried_for_ever(name, time):
    body = json.loads(webhook_body(("a", "resolved")))
    body["alerts"][0][name] = time
    with pytest.raises(InvalidBody, match=r"`alerts\[0\]` has a time outside of the years 1 to 9999"):
        webhook.parse(json.dumps(body).encode())


@pytest.mark.parametrize("end", ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00+01:00"])
def test_the_zero_time_is_no_end(end):
    body = json.loads(webhook_body())
    body["alerts"][0]["endsAt"] = end
    assert webhook.parse(json.dumps(body).encode()).alerts[0].firing


def test_fields_of_newer_alertmanagers_are_no_error():
    group = webhook.parse(webhook_body(routeLabels={"a": "b"}, notification_reason="new alerts added"))
    assert group.reason == "new alerts added"


@given(st.text())
def test_the_receiver_is_unquoted_as_go_quoted_it(name):
    quoted = re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", name)  # Go's regexp.QuoteMeta
    assert webhook.parse(webhook_body(receiver=quoted)).receiver == name


def test_both_sides_of_an_ha_pair_have_the_same_key():
    one = webhook.parse(webhook_body(("a", "firing"), ("b", "resolved"), externalURL="http://am-0"))
    other = webhook.parse(webhook_body(("b", "resolved"), ("a", "firing"), externalURL="http://am-1"))
    assert one.key == other.key
    elsewhere = webhook_body(("a", "firing"), ("b", "resolved")).replace(b"14:32:05.680718Z", b"15:32:05.680718+01:00")
    assert webhook.parse(elsewhere).key == one.key


@pytest.mark.parametrize(
    "other",
    [
        webhook_body(("a", "resolved"), ("b", "firing")),
        webhook_body(("a", "firing")),
        webhook_body(("a", "firing"), ("c", "firing")),
        webhook_body(("a", "firing"), ("b", "firing"), key="{}:{x}"),
        webhook_body(("a", "firing"), ("b", "firing"), receiver="another"),
        webhook_body(("a", "firing"), ("b", "firing"), truncatedAlerts=1),
        webhook_body(("a", "firing"), ("b", "firing"), notification_reason="repeat interval elapsed"),
        webhook_body(("a", "firing"), ("b", "firing")).replace(b"14:32:05", b"14:32:06"),
    ],
)
def test_what_tells_something_else_has_another_key(other):
    assert webhook.parse(other).key != webhook.parse(webhook_body(("a", "firing"), ("b", "firing"))).key


def test_part_of_a_group_has_a_status_and_common_labels_of_its_own():
    group = webhook.parse(webhook_body(("a", "firing"), ("b", "resolved"), ("c", "resolved"), labels={"x": "y"}))
    part = group.only([1, 2])
    assert [alert.fingerprint for alert in part.alerts] == ["b", "c"]
    assert part.status == "resolved"
    assert part.common_labels == {"alertname": "Test", "x": "y"}
    assert group.only([0, 1, 2]) is group
