"""Services that apprise knows: which are taken, what they are told, and that nothing goes out but by our own calls."""

import dataclasses
import json
import subprocess
import sys

import pytest
import requests

from alert_bridge import notifiers, stand_in, webhook
from alert_bridge.insight import NOTHING, Insight
from alert_bridge.notifier import DeliveryFailed, Message, Notification
from alert_bridge.notifiers.apprise import AppriseReceiver
from alert_bridge.testing import webhook_body
from cloudpulse import trace
from cloudpulse.config import Secret, parse
from cloudpulse.durations import Duration
from cloudpulse.errors import ConfigError

TELEGRAM = "tgram://123456789:abcdefg_hijklmnop/12315544/"
DISCORD = "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js"
SMS = f"twilio://AC{'a' * 32}:{'b' * 32}@12345678901/12345678902"
PICTURE = b"\x89PNG" + b"0" * 100


def notification(*alerts, **changes):
    return Notification(
        id=7,
        receiver="one",
        idempotency_key="key",
        attempt=1,
        stored_at=1.8e9,
        give_up_at=2e9,
        group=webhook.parse(webhook_body(*alerts or [("a", "firing")], **changes)),
    )


def build(*urls, **settings):
    settings = {"timeout": Duration(5)} | settings
    return notifiers.build(AppriseReceiver(name="one", urls=tuple(map(Secret, urls)), **settings))


@pytest.fixture
def here(receiver):
    """The test's server, and its URL in apprise's words up to the path."""
    app, url = receiver
    return app, url.replace("http://", "json://")


@pytest.fixture
def outbound(monkeypatch):
    """Calls that would have left the machine, answered as Telegram and Discord do."""
    calls = []

    def request(self, method, url, **how):
        calls.append((url, how))
        response = requests.Response()
        response.status_code, response._content = 200, b'{"ok": true, "result": {"message_id": 1}}'
        return response

    monkeypatch.setattr(stand_in.Errand, "request", request)
    return calls


def test_those_that_took_it_are_not_sent_it_again(here):
    app, url = here
    down = {"/b": 503}
    app.answer = lambda post: (down.get(post["path"], 200), {})
    notifier = build(f"{url}/a", f"{url}/b", f"{url}/c")
    with pytest.raises(DeliveryFailed, match="answered 503; 2 of 3 services have it") as caught:
        notifier.send(Message(notification()))
    assert caught.value.retryable
    down.clear()
    again = dataclasses.replace(notification(), attempt=2, progress=caught.value.progress)
    assert build(f"{url}/c", f"{url}/b", f"{url}/a").send(Message(again)) == {}
    assert [post["path"] for post in app.posts] == ["/a", "/b", "/c", "/b"]


def test_it_is_tried_again_while_one_may_still_take_it_and_at_the_longest_asked_for(here):
    app, url = here
    answers = {"/a": (400, {}), "/b": (429, {"Retry-After": "7"}), "/c": (503, {"Retry-After": "70"})}
    app.answer = lambda post: answers[post["path"]]
    with pytest.raises(DeliveryFailed) as caught:
        build(f"{url}/a", f"{url}/b", f"{url}/c").send(Message(notification()))
    assert (caught.value.retryable, caught.value.retry_after_seconds) == (True, 70)
    answers |= dict.fromkeys(("/b", "/c"), (413, {}))
    with pytest.raises(DeliveryFailed) as caught:
        build(f"{url}/a", f"{url}/b", f"{url}/c").send(Message(notification()))
    assert not caught.value.retryable


def test_what_a_url_asks_of_apprise_can_not_hide_a_failure(here):
    """Redirects are followed by nobody, retries are the bridge's, and there is no service that may fail."""
    app, url = here
    app.answer = lambda post: (302, {"Location": "/elsewhere"})
    with pytest.raises(DeliveryFailed, match="answered 302"):
        build(f"{url}/a?redirect=yes&retry=5&wait=0&optional=yes").send(Message(notification()))
    assert len(app.posts) == 1


def test_credentials_come_from_the_config_only(here, tmp_path, monkeypatch):
    app, url = here
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    build(f"{url}/a").send(Message(notification()))
    assert "AUTHORIZATION" not in app.posts[0]["headers"]


def test_a_service_hears_of_the_trace(here):
    app, url = here
    place = trace.Trace("1" * 32, "2" * 16, True)
    with trace.within(place):
        build(f"{url}/a").send(Message(notification()))
    assert app.posts[0]["headers"]["TRACEPARENT"] == place.parent


def test_the_picture_goes_with_the_first_attempt(here):
    """A service may take the text and then refuse the picture; that must not go on for a day."""
    app, url = here
    notifier = build(f"{url}/a")
    notifier.send(Message(notification(), Insight(PICTURE)))
    notifier.send(Message(dataclasses.replace(notification(), attempt=2), Insight(PICTURE)))
    first, second = [post["body"]["attachments"] for post in app.posts]
    assert (len(first), len(second)) == (1, 0)
    assert first[0]["mimetype"] == "image/png"


def test_a_picture_that_is_refused_keeps_nobody_from_the_text(here):
    app, url = here
    app.answer = lambda post: (413 if post["body"]["attachments"] else 200, {})
    assert build(f"{url}/a").send(Message(notification(), Insight(PICTURE))) == {}
    assert [post["status"] for post in app.posts] == [413, 200]


@pytest.mark.parametrize(
    ("alert", "kind"),
    [(("a", "firing"), "failure"), (("a", "resolved"), "success")],
)
def test_the_service_is_told_how_bad_it_is(alert, kind, here):
    app, url = here
    build(f"{url}/a").send(Message(notification(alert)))
    assert app.posts[0]["body"]["type"] == kind


def test_a_text_is_as_short_as_the_service_needs(outbound):
    build(SMS).send(Message(notification(*((f"pod-{i}", "firing") for i in range(500)), labels={"x": "y" * 500})))
    ((_, how),) = outbound
    assert 0 < len(how["data"]["Body"]) <= 160


def test_a_title_within_the_text_is_escaped_as_the_text_is(outbound):
    build(TELEGRAM).send(Message(notification(labels={"alertname": "<a href='https://evil.example'>x</a>"})))
    text = json.loads(outbound[0][1]["data"])["text"]
    assert "&lt;a href=" in text
    assert "<a href='" not in text


def test_no_alert_calls_everyone_or_makes_markup_on_discord(outbound):
    build(DISCORD).send(Message(notification(labels={"alertname": "@everyone **x** [y](https://evil.example)"})))
    content = json.dumps([how.get("data") or how.get("json") for _, how in outbound])
    assert "everyone" in content
    assert "@everyone" not in content
    assert "[y](https" not in content
    assert "**x**" not in content


def test_the_next_alert_does_not_wait_for_a_pause_of_apprise(outbound, monkeypatch):
    notifier = build(SMS)
    monkeypatch.setattr("apprise.url.time.sleep", lambda seconds: pytest.fail(f"slept {seconds}"))
    for _ in range(2):
        notifier.send(Message(notification()))
    assert len(outbound) == 2


def test_a_plugin_that_breaks_at_a_url_does_not_show_it(monkeypatch):
    def broken(*_):
        raise KeyError("secret-token")

    monkeypatch.setattr("apprise.plugins.custom_json.NotifyJSON.parse_url", broken)
    with pytest.raises(ConfigError, match="apprise has no service") as caught:
        build("json://localhost/secret-token")
    assert "secret" not in f"{caught.value!r} {caught.value.__cause__!r}"


@pytest.mark.parametrize("scheme", ["syslog", "rsyslog", "irc", "mailto", "nostr", "aprs", "amqp", "deltachat"])
def test_what_does_not_go_over_http_is_refused(scheme):
    url = {"nostr": f"nostr://{'a' * 64}@relay.example/{'b' * 64}", "mailto": "mailto://u:token@gmail.com"}
    with pytest.raises(ConfigError, match=rf"receiver one: urls\[1\].*{scheme}://") as caught:
        build("json://localhost/a", url.get(scheme, f"{scheme}://user:token@localhost/token"))
    assert "token" not in str(caught.value)


@pytest.mark.parametrize("url", ["slack://secret-token", "secret-token", "x://secret-token", "json://", "", "Ä://"])
def test_a_url_that_no_service_takes_is_named_without_showing_it(url, capsys):
    with pytest.raises(ConfigError, match=r"receiver one: urls\[0\]: apprise has no service") as caught:
        build(url)
    assert "secret" not in f"{caught.value} {caught.value.__cause__!r} {capsys.readouterr()}"


def test_most_services_of_apprise_can_be_reached():
    """An upgrade of apprise that calls something else than `requests` shows here."""
    from apprise.manager_plugins import NotificationManager

    from alert_bridge.notifiers.apprise_services import _NOT_OVER_HTTP

    build("json://localhost/a")
    packages = {".".join(plugin.__module__.split(".")[:3]) for plugin in NotificationManager().plugins()}
    reached = {package for package in packages - _NOT_OVER_HTTP if stand_in.stands_in(package)}
    assert len(reached) > 150
    assert vars(sys.modules["apprise.plugins.custom_json"])["requests"] is not requests


def test_the_stand_in_makes_no_call_of_its_own():
    with pytest.raises(LookupError):
        stand_in.STAND_IN.get("http://127.0.0.1/")
    with pytest.raises(AttributeError, match="only single calls"):
        stand_in.STAND_IN.Session  # noqa: B018
    assert stand_in.STAND_IN.RequestException is requests.RequestException


def test_apprise_is_loaded_only_where_it_is_used():
    """Its services take 26 MB and 0.3 s."""
    code = "import sys, alert_bridge.bridge; sys.exit('apprise' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_urls_come_from_a_file_too(here, tmp_path):
    app, url = here
    (tmp_path / "urls").write_text(f"# on call\n{url}/a\n\n  {url}/b\n")
    made = AppriseReceiver(name="one", urls_file=tmp_path / "urls", timeout=Duration(5))
    notifiers.build(made).send(Message(notification(), NOTHING))
    assert [post["path"] for post in app.posts] == ["/a", "/b"]
    (tmp_path / "urls").write_text("# nobody\n")
    with pytest.raises(ConfigError, match="urls: expected 1 to 50 URLs, got 0"):
        notifiers.build(made)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "expected exactly one of urls and urls_file"),
        ("    urls: []\n", "urls: expected 1 to 50, got 0"),
        ("    urls: [a://b, c://d]\n    timeout: 151s\n", "at most 5m for all URLs together"),
        ("    urls: [a://b]\n    timeout: 0s\n", "timeout: expected more than 0s"),
        ("    urls: a://b\n", "urls: expected a list"),
    ],
)
def test_what_can_not_work_is_refused_at_start(lines, message):
    from alert_bridge.config import AlertBridgeSettings

    text = "alert_bridge:\n  receivers:\n  - type: apprise\n    name: one\n" + lines
    with pytest.raises(ConfigError, match=message):
        parse(text, "cloudpulse.yaml", {}).section("alert_bridge", AlertBridgeSettings)
