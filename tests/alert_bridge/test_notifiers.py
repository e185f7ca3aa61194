"""What every notifier promises, over the whole table; and what the webhook one says."""

import dataclasses
import json
import logging
import socket

import msgspec
import pytest

from alert_bridge import notifiers, webhook
from alert_bridge.notifier import REFUSED, DeliveryFailed, Message, Notification
from alert_bridge.notifiers.log import LogReceiver
from alert_bridge.notifiers.webhook import WebhookReceiver
from alert_bridge.testing import webhook_body
from cloudpulse import logs
from cloudpulse.config import Authorization, BasicAuth, Secret
from cloudpulse.durations import Duration
from cloudpulse.errors import ConfigError

SECRETS = ("path-token", "header-token", "bearer-token", "user-password")


def settings_of(kind, url):
    """Settings of a receiver that sends to `url`, with a secret wherever it takes one."""
    if kind is LogReceiver:
        return LogReceiver(name="one")
    return kind(
        name="one",
        url=Secret(f"{url}/hook/path-token?key=path-token"),
        authorization=Authorization(credentials=Secret("bearer-token")),
        headers={"X-Key": Secret("header-token")},
        timeout=Duration(2),
    )


OVER_HTTP = [kind for kind in notifiers.NOTIFIERS if kind is not LogReceiver]


@pytest.fixture
def notification():
    body = webhook_body(("a", "firing"), ("b", "resolved"), labels={"text": "{{ 1 }} \x1b[2J\n\u0000"})
    return Notification(
        id=7,
        receiver="one",
        idempotency_key="key-of-this",
        attempt=1,
        stored_at=0,
        give_up_at=1,
        group=webhook.parse(body),
    )


@pytest.fixture(params=["text", "json"])
def log_text(request, capsys):
    """Everything logged so far, in both formats and down to debug."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    logs.configure("debug", request.param)
    yield lambda: capsys.readouterr().err
    root.handlers[:] = before[0]
    root.setLevel(before[1])


@pytest.mark.parametrize("kind", notifiers.NOTIFIERS)
def test_each_delivers_and_remembers_nothing(kind, receiver, notification):
    assert notifiers.build(settings_of(kind, receiver[1])).send(Message(notification)) == {}


@pytest.mark.parametrize("kind", OVER_HTTP)
@pytest.mark.parametrize(
    "status", [*sorted(REFUSED), 301, 302, 307, 401, 403, 404, 408, 409, 425, 429, 500, 501, 503, 504]
)
def test_each_calls_the_same_statuses_retryable(kind, status, receiver, notification):
    app, url = receiver
    app.answer = lambda post: (status, {"Location": f"{url}/elsewhere"})
    with pytest.raises(DeliveryFailed, match=str(status)) as caught:
        notifiers.build(settings_of(kind, url)).send(Message(notification))
    assert caught.value.retryable == (status not in REFUSED)
    assert len(app.posts) == 1, "a redirect was followed"


@pytest.mark.parametrize("kind", OVER_HTTP)
def test_each_gives_the_same_idempotency_key_again(kind, receiver, notification):
    app, url = receiver
    notifier = notifiers.build(settings_of(kind, url))
    notifier.send(Message(notification))
    notifier.send(Message(dataclasses.replace(notification, attempt=2)))
    one, other = app.posts
    assert one["headers"]["IDEMPOTENCY-KEY"] == "key-of-this"
    assert one["raw"] == other["raw"]


@pytest.mark.parametrize("kind", OVER_HTTP)
@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0),
        ("soon", None),
        ("-1", None),
        (None, None),
    ],
)
def test_each_passes_on_when_the_receiver_wants_to_be_tried(kind, header, seconds, receiver, notification):
    app, url = receiver
    app.answer = lambda post: (429, {} if header is None else {"Retry-After": header})
    with pytest.raises(DeliveryFailed) as caught:
        notifiers.build(settings_of(kind, url)).send(Message(notification))
    assert caught.value.retry_after_seconds == seconds


@pytest.mark.parametrize("kind", OVER_HTTP)
def test_each_calls_an_unreachable_receiver_retryable(kind, notification):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(DeliveryFailed, match="not reached: Connection refused") as caught:
            notifiers.build(settings_of(kind, url)).send(Message(notification))
    assert caught.value.retryable


@pytest.mark.parametrize("kind", OVER_HTTP)
def test_each_gives_a_silent_receiver_its_timeout_and_no_more(kind, notification):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        slow = settings_of(kind, f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(DeliveryFailed, match="timed out") as caught:
            notifiers.build(msgspec.structs.replace(slow, timeout=Duration(0.2))).send(Message(notification))
    assert caught.value.retryable


@pytest.mark.parametrize("kind", notifiers.NOTIFIERS)
@pytest.mark.parametrize("fault", [200, 400, 500, "closed"])
def test_no_secret_is_in_any_error_or_log(kind, fault, receiver, notification, log_text):
    """The receiver of these tests writes back what it was sent; that must not be shown either."""
    app, url = receiver
    app.answer = lambda post: (fault, {})
    shown = ""
    settings = settings_of(kind, "http://127.0.0.1:1" if fault == "closed" else url)
    notifier = notifiers.build(settings)
    try:
        notifier.send(Message(notification))
    except DeliveryFailed as error:
        logs.get("test").exception("failed")
        shown = f"{error} {error!r} {error.__cause__!r}"
    shown += log_text() + repr(settings) + str(vars(notifier).get("_place"))
    assert not [secret for secret in SECRETS if secret in shown]
    assert "you sent" not in shown


@pytest.mark.parametrize("kind", notifiers.NOTIFIERS)
def test_alert_texts_can_not_break_a_log_line(kind, receiver, notification, log_text):
    notifiers.build(settings_of(kind, receiver[1])).send(Message(notification))
    text = log_text()
    assert "\x1b[2J" not in text
    assert all("notification" in line for line in text.splitlines() if "alertname" in line or "{{" in line)


def test_the_log_line_says_what_happened(notification, log_text):
    notifiers.build(LogReceiver(name="one")).send(Message(notification))
    line = log_text()
    for part in ("one", "firing", "key-of-this", "alertname", "Test"):
        assert part in line


def test_the_webhook_body_is_alertmanagers_own_with_ours_beside_it(receiver, notification):
    app, url = receiver
    notifiers.build(WebhookReceiver(name="one", url=Secret(f"{url}/x"))).send(Message(notification))
    told = app.posts[0]["body"]
    ours = told.pop("notification")
    assert ours["idempotencyKey"] == "key-of-this"
    assert ours["receiver"] == "one"
    assert webhook.parse(json.dumps(told).encode()) == notification.group
    assert told["alerts"][0]["endsAt"] == "0001-01-01T00:00:00Z"


def test_the_webhook_shows_who_it_is(receiver, notification, tmp_path, monkeypatch):
    """Credentials come from the config only, not from a .netrc that lies about."""
    app, url = receiver
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "password").write_text("user-password\n")
    (tmp_path / "url").write_text(f"{url}/from-file\n")
    basic = BasicAuth(username="user", password_file=tmp_path / "password")
    for settings in (
        WebhookReceiver(name="one", url_file=tmp_path / "url"),
        WebhookReceiver(name="one", url=Secret(url), basic_auth=basic),
        settings_of(WebhookReceiver, url),
    ):
        notifiers.build(settings).send(Message(notification))
    shown = [post["headers"].get("AUTHORIZATION") for post in app.posts]
    assert shown == [None, "Basic dXNlcjp1c2VyLXBhc3N3b3Jk", "Bearer bearer-token"]
    assert app.posts[0]["path"] == "/from-file"
    assert app.posts[2]["headers"]["X-KEY"] == "header-token"


def test_a_url_file_without_a_url_is_refused_without_showing_it(tmp_path):
    (tmp_path / "url").write_text("path-token")
    with pytest.raises(ConfigError, match="holds no URL") as caught:
        notifiers.build(WebhookReceiver(name="one", url_file=tmp_path / "url"))
    assert "path-token" not in str(caught.value)
