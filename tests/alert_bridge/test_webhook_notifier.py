"""What the webhook and the log notifier say."""

import hashlib
import hmac
import json

import pytest

from alert_bridge import notifiers, webhook
from alert_bridge.insight import Companion, Insight, Outlook
from alert_bridge.notifier import Ack, Message, Notification, Summary, Surroundings
from alert_bridge.notifiers.log import LogReceiver
from alert_bridge.notifiers.webhook import WebhookReceiver
from alert_bridge.testing import webhook_body
from cloudpulse.config import Authorization, BasicAuth, Secret
from cloudpulse.errors import ConfigError

KNOWN = Insight(
    picture=b"\x89PNG",
    outlooks=(Outlook("a", "Expected now: 1 to 2.", "", "MASE 0.7."),),
    company=(Companion("web_rps", {"app": "x"}, 2.0, 0.9),),
    values={"a": 0.12},
)


def message(insight=KNOWN, **more):
    group = webhook.parse(webhook_body(("a", "firing"), ("b", "resolved")))
    told = Notification(
        id=7, receiver="one", idempotency_key="key", attempt=1, stored_at=0, give_up_at=1, group=group, **more
    )
    return Message(told, insight, "https://bridge.example/ack")


def test_the_body_is_alertmanagers_own_with_ours_beside_it(receiver):
    app, url = receiver
    notifiers.build(WebhookReceiver(name="one", url=Secret(f"{url}/x"))).send(message())
    told = app.posts[0]["body"]
    ours, insight = told.pop("notification"), told.pop("insight")
    assert ours == {
        "id": 7,
        "receiver": "one",
        "incident": message().notification.group.incident,
        "idempotencyKey": "key",
        "ackUrl": "https://bridge.example/ack",
    }
    assert insight == {
        "outlooks": [{"fingerprint": "a", "expected": "Expected now: 1 to 2.", "ahead": "", "trust": "MASE 0.7."}],
        "company": [{"forecast": "web_rps", "labels": {"app": "x"}, "score": 2.0, "relation": 0.9}],
        "values": {"a": 0.12},
    }
    assert webhook.parse(json.dumps(told).encode()) == message().notification.group
    assert told["alerts"][0]["endsAt"] == "0001-01-01T00:00:00Z"


def test_the_picture_is_sent_where_it_is_asked_for(receiver):
    app, url = receiver
    notifiers.build(WebhookReceiver(name="one", url=Secret(url), picture=True)).send(message())
    assert app.posts[0]["body"]["insight"]["picturePng"] == "iVBORw=="


def test_acks_and_summaries_are_told_as_such(receiver):
    app, url = receiver
    notifier = notifiers.build(WebhookReceiver(name="one", url=Secret(url)))
    notifier.send(message(ack=Ack("anna", 60.0, undo_url="https://bridge.example/undo", whole=False)))
    notifier.send(message(summary=Summary(37, 12, {"a": Ack("anna", 60.0)})))
    ack, summary = (post["body"]["notification"] for post in app.posts)
    assert ack["ack"] == {
        "by": "anna",
        "until": 60.0,
        "comment": "",
        "undoUrl": "https://bridge.example/undo",
        "whole": False,
    }
    told = {"by": "anna", "until": 60.0, "comment": "", "undoUrl": "", "whole": True}
    assert summary["summary"] == {"notifications": 37, "incidents": 12, "acks": {"a": told}}


def genuine(body: bytes, header: str, secret: str, now: float, within_seconds: int = 300) -> bool:
    """As the notifier's docstring tells receivers to check."""
    parts = dict(part.split("=", 1) for part in header.split(","))
    expected = hmac.new(secret.encode(), parts["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, parts["v1"]) and abs(now - int(parts["t"])) <= within_seconds


def test_a_signature_proves_the_body_and_its_time(receiver, clock, tmp_path):
    app, url = receiver
    (tmp_path / "secret").write_text("shared\n")
    settings = WebhookReceiver(name="one", url=Secret(url), hmac_secret_file=tmp_path / "secret")
    notifiers.build(settings, Surroundings(clock)).send(message())
    (post,) = app.posts
    header = post["headers"]["X-CLOUDPULSE-SIGNATURE"]
    assert genuine(post["raw"], header, "shared", clock())
    assert not genuine(post["raw"] + b" ", header, "shared", clock())
    assert not genuine(post["raw"], header, "other", clock())
    assert not genuine(post["raw"], header, "shared", clock() + 301)
    moved = header.replace(f"t={int(clock())}", f"t={int(clock()) + 301}")
    assert not genuine(post["raw"], moved, "shared", clock() + 301)


def test_it_shows_who_it_is(receiver, tmp_path):
    app, url = receiver
    (tmp_path / "password").write_text("user-password\n")
    (tmp_path / "url").write_text(f"{url}/from-file\n")
    basic = BasicAuth(username="user", password_file=tmp_path / "password")
    bearer = Authorization(credentials=Secret("bearer-token"))
    for settings in (
        WebhookReceiver(name="one", url_file=tmp_path / "url"),
        WebhookReceiver(name="one", url=Secret(url), basic_auth=basic),
        WebhookReceiver(name="one", url=Secret(url), authorization=bearer, headers={"X-Key": Secret("header-token")}),
    ):
        notifiers.build(settings).send(message())
    shown = [post["headers"].get("AUTHORIZATION") for post in app.posts]
    assert shown == [None, "Basic dXNlcjp1c2VyLXBhc3N3b3Jk", "Bearer bearer-token"]
    assert app.posts[0]["path"] == "/from-file"
    assert app.posts[2]["headers"]["X-KEY"] == "header-token"


def test_a_url_file_without_a_url_is_refused_without_showing_it(tmp_path):
    (tmp_path / "url").write_text("path-token")
    with pytest.raises(ConfigError, match="holds no URL") as caught:
        notifiers.build(WebhookReceiver(name="one", url_file=tmp_path / "url"))
    assert "path-token" not in str(caught.value)


@pytest.mark.parametrize("log_text", ["json"], indirect=True)
def test_the_log_line_says_what_happened(log_text):
    notifiers.build(LogReceiver(name="one")).send(message())
    line = json.loads(log_text())
    assert line["receiver"] == "one"
    assert line["kind"] == "update"
    assert (line["firing"], line["resolved"]) == (1, 1)
    assert line["labels"] == {"alertname": "Test"}
    assert line["outlook"] == {"a": ["Expected now: 1 to 2.", "MASE 0.7."]}
    assert line["company"] == ["web_rps"]
    assert line["values"] == {"a": 0.12}
