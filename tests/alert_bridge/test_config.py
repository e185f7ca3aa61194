from pathlib import Path

import pytest

from alert_bridge.config import AlertBridgeSettings
from alert_bridge.notifiers.log import LogReceiver
from alert_bridge.notifiers.webhook import WebhookReceiver
from cloudpulse import config
from cloudpulse.errors import ConfigError


def settings(text: str) -> AlertBridgeSettings:
    return config.parse(f"alert_bridge:\n{text}", Path("c.yaml"), {}).section("alert_bridge", AlertBridgeSettings)


def test_without_a_config_everything_is_logged():
    assert settings("").receivers == (LogReceiver(name="log"),)
    assert settings("").fallback_names == ("log",)


def test_receivers_are_told_apart_by_type():
    read = settings("""
  receivers:
    - {name: oncall, type: webhook, url: https://hooks.example/SECRET, timeout: 3s}
    - {name: all, type: log}
  routes: [{match: {severity: critical}, receivers: [oncall], continue: true}]
  fallback: [all]
""")
    oncall, everything = read.receivers
    assert isinstance(oncall, WebhookReceiver)
    assert isinstance(everything, LogReceiver)
    assert read.routes[0].continue_
    assert read.fallback_names == ("all",)
    assert "SECRET" not in repr(read)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  receivers: []", "receivers: expected at least one"),
        ("  receivers: [{name: a, type: log}, {name: a, type: log}]", 'the name "a" is given twice'),
        ("  receivers: [{type: log}]", r"alert_bridge.receivers\[0\]: missing key `name`"),
        ("  receivers: [{name: '', type: log}]", r"receivers\[0\]: name: expected a text"),
        ("  receivers: [{name: a}]", r"receivers\[0\]: missing key `type`"),
        (
            "  receivers: [{name: a, type: pigeon}]",
            r"receivers\[0\].type: expected one of webhook, .*, log, got 'pigeon'",
        ),
        ("  receivers: [{name: a, type: log, url: x}]", r"receivers\[0\]: unknown key `url`"),
        ("  receivers: [{name: a, type: log, concurrency: 0}]", "concurrency: expected 1 to 64, got 0"),
        ("  receivers: [{name: a, type: webhook}]", "exactly one of url and url_file"),
        ("  receivers: [{name: a, type: webhook, url: ftp://x/y}]", "url: expected a URL such as"),
        ("  receivers: [{name: a, type: webhook, url: 'http://:80/'}]", "url: expected a URL such as"),
        ("  receivers: [{name: a, type: webhook, url: 'http://x', timeout: 0s}]", "timeout: expected more than 0s"),
        ("  routes: [{match: {a: b}, receivers: [nobody]}]", r'routes\[0\].receivers: no receiver is named "nobody"'),
        ("  routes: [{match: {a: b}, receivers: []}]", r"routes\[0\].receivers: expected at least one"),
        (
            "  routes: [{receivers: [log], routes: [{receivers: [x]}]}]",
            r"routes\[0\].routes\[0\].receivers: no receiver",
        ),
        (
            "  routes: [{receivers: [log], mute_time_intervals: [night]}]",
            "mute_time_intervals: no time interval is named",
        ),
        (
            "  routes: [{receivers: [log], matchers: ['a=b', 'c=~\"(\"']}]",
            r"matchers: can't read 'c=~\"\(\"' at column 4: not a",
        ),
        (
            "  routes: [{receivers: [log], matchers: {a: b}}]",
            r"routes\[0\].matchers: expected a list of matchers such as",
        ),
        ("  time_intervals: [{name: '', time_intervals: []}]", r"time_intervals\[0\]: name: expected a text"),
        (
            "  time_intervals: [{name: a, time_intervals: []}, {name: a, time_intervals: []}]",
            'time_intervals: the name "a" is given twice',
        ),
        ("  receivers: [{name: a, type: log, fallback: b}]", r'receivers\[0\].fallback: no receiver is named "b"'),
        ("  receivers: [{name: a, type: log, fallback: a}]", "leads back to itself: a -> a"),
        (
            "  receivers: [{name: a, type: log, fallback: b}, {name: b, type: log, fallback: a}]",
            r"receivers\[0\].fallback: it leads back to itself: a -> b -> a",
        ),
        ("  receivers: [{name: a, type: log, give_up_after: 0s}]", "give_up_after: expected more than 0s"),
        (
            "  receivers: [{name: a, type: log, rate_limit: {messages: 0}}]",
            r"rate_limit.messages: expected `int` >= 1|>= 1",
        ),
        ("  receivers: [{name: a, type: log, rate_limit: {messages: 1, per: 2d}}]", "per: expected 1s to 1d, got 2d"),
        (
            "  receivers: [{name: a, type: log, rate_limit: {messages: 1, except: 'a'}}]",
            "except: can't read 'a' at column 2",
        ),
        ("  fallback: [nobody]", 'fallback: no receiver is named "nobody"'),
        ("  fallback: []", "fallback: expected at least one"),
        ("  retry_first: 10m", "retry_first: expected more than 0s and at most retry_max, got 10m"),
        ("  give_up_after: 0s", "give_up_after: expected more than 0s"),
        ("  max_body_bytes: 1", "max_body_bytes: expected 1024 or more"),
        ("  insight: {past: 1s}", "insight: past: expected 10m to 7d, got 1s"),
        ("  insight: {timezone: Mars}", 'insight: timezone: expected an IANA name such as Europe/Berlin, got "Mars"'),
        ("  bearer_token: a\n  bearer_token_file: b", "can't both be set"),
        ("  database: a\n  database_file: b", "database and database_file can't both be set"),
        (
            "  database: mysql://u:SECRET@h/d",
            "database: expected a URL such as postgresql://user:password@host:5432/name$",
        ),
        ("  replica_timeout: 500ms", "replica_timeout: expected 1s or more"),
        ("  retention: 5m", "retention: expected at least repeat_after"),
        ("  max_stored_alerts: 0", "max_stored_alerts: expected 1 or more"),
        ("  max_alerts: 0", "max_alerts: expected 1 or more"),
        ("  basic_auth: {username: a}", "exactly one of password and password_file"),
        ("  client_certificates: ['']", "client_certificates: expected names"),
        ("  api_keys: [{name: a}]", r"api_keys\[0\]: expected exactly one of sha256 and sha256_file"),
        ("  api_keys: [{name: a, sha256: abc}]", r"api_keys\[0\]: sha256: expected 64 hex digits"),
        ("  api_keys: [{name: a, sha256_file: x, role: admin}]", "expected one of read, write, got"),
        ("  api_keys: [{name: a, sha256_file: x}, {name: a, sha256_file: y}]", 'api_keys: the name "a" is given twice'),
        ("  external_url: alerts.example", "external_url: expected a URL"),
        ("  external_url: https://u:p@alerts.example", "external_url: expected a URL"),
        ("  external_url: https://x.example/?a", "external_url: expected a URL"),
        ("  links_expire_after: 0s", "links_expire_after: expected more than 0s"),
        ("  alertmanager: {}", "exactly one of url and urls"),
        ("  alertmanager: {url: http://x, urls: [http://y]}", "exactly one of url and urls"),
        ("  alertmanager: {url: 'http://u:SECRET@x'}", "url: expected no user and password in it"),
        ("  alertmanager: {url: http://x, ack_for: 2d}", "ack_for: expected at least 1m and at most ack_at_most"),
        ("  alertmanager: {url: http://x, timeout: 2m}", "timeout: expected more than 0s, at most 30s"),
    ],
)
def test_what_can_not_work_is_refused_with_its_place(text, message):
    with pytest.raises(ConfigError, match=message):
        settings(text)


def test_a_wrong_url_is_refused_without_showing_it():
    with pytest.raises(ConfigError) as caught:
        settings("  receivers: [{name: a, type: webhook, url: 'htp://host/TOKEN'}]")
    assert "TOKEN" not in str(caught.value)
