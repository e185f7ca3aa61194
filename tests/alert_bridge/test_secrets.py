"""No secret leaves the bridge: one in every place of the config, everything exercised, everything said searched."""

import base64
import hashlib
import json
import os
import re
import signal
import sqlite3

import pytest
import requests

from alert_bridge.testing import eventually, webhook_body

WRITE = "key-of-anna-0123456789abcdef"
PLACES = {
    "bearer_token": "hook-token-5f3a",
    "basic_auth": "hook-password-77d1",
    "api_key": WRITE,
    "alertmanager.authorization": "am-credentials-19ce",
    "alertmanager.headers": "am-tenant-40bb",
    "webhook.url": "url-token-a8f0",
    "webhook.headers": "header-token-c2d9",
    "webhook.authorization": "receiver-token-e671",
    "webhook.basic_auth": "receiver-password-03aa",
    "webhook.broken": "broken-url-token-9d0c",
    "reload": "secret-in-a-bad-config-1b2e",
}
"""Where a secret may be, and the one that is there in this test. A new place: a line here and in CONFIG."""

CONFIG = """
  external_url: https://alerts.example
  give_up_after: 1s
  retry_first: 100ms
  bearer_token: {bearer_token}
  basic_auth: {{username: am, password: {basic_auth}}}
  api_keys: [{{name: anna, sha256: {digest}, role: write}}]
  alertmanager:
    url: {to}/alertmanager
    authorization: {{credentials: {alertmanager.authorization}}}
    headers: {{X-Scope-OrgID: {alertmanager.headers}}}
  receivers:
    - {{name: good, type: webhook, url: "{to}/good/{webhook.url}?token={webhook.url}",
        headers: {{X-Token: {webhook.headers}}}, authorization: {{credentials: {webhook.authorization}}}}}
    - {{name: refusing, type: webhook, url: "{to}/refusing/{webhook.url}",
        basic_auth: {{username: bridge, password: {webhook.basic_auth}}}}}
    - {{name: redirecting, type: webhook, url: "{to}/redirecting/{webhook.url}"}}
    - {{name: broken, type: webhook, url: "http://127.0.0.1:1/{webhook.broken}"}}
"""


class Said:
    """Everything that came out, by where."""

    def __init__(self, url):
        self.url = url
        self.texts = {}

    def ask(self, method, path, key=WRITE, **more):
        headers = {"X-API-Key": key} if key else {}
        answer = requests.request(
            method, self.url + path, headers=headers | more.pop("headers", {}), timeout=20, **more
        )
        self.texts[f"{method} {path} {len(self.texts)}"] = f"{answer.headers}{answer.text}"
        return answer


def spellings(secret):
    """The secret as it is, and as basic auth and a hash would show it."""
    encoded = [base64.b64encode(f"{user}:{secret}".encode()).decode() for user in ("am", "bridge")]
    return [secret, hashlib.sha256(secret.encode()).hexdigest(), *encoded]


@pytest.fixture
def answering(receiver):
    app, to = receiver

    def answer(post):
        if post["path"].startswith("/refusing"):
            return 400, {}
        if post["path"].startswith("/redirecting"):
            return 302, {"Location": f"http://127.0.0.1:1/{post['path']}"}
        return (500 if post["path"].startswith("/alertmanager") else 200), {}

    app.answer = answer
    return app, to


def test_no_secret_is_in_anything_that_the_bridge_says(start_bridge, answering):
    app, to = answering
    lines = CONFIG
    for name, secret in PLACES.items():
        lines = lines.replace(f"{{{name}}}", secret)
    lines = lines.replace("{to}", to).replace("{digest}", hashlib.sha256(WRITE.encode()).hexdigest())
    process = start_bridge(lines.replace("{{", "{").replace("}}", "}"))
    said = Said(process.url)

    hook = {"Authorization": f"Bearer {PLACES['bearer_token']}"}
    assert said.ask("POST", "/api/v1/alerts", None, data=webhook_body(("a", "firing")), headers=hook).ok
    basic = {"Authorization": "Basic " + base64.b64encode(f"am:{PLACES['basic_auth']}".encode()).decode()}
    assert said.ask("POST", "/api/v1/alerts", None, data=webhook_body(("b", "firing"), key="b"), headers=basic).ok
    for wrong in (hook | {"Authorization": hook["Authorization"] + "x"}, basic, hook):
        said.ask("GET", f"/api/v1/alerts?key={WRITE}", None, headers=wrong)
        said.ask("POST", "/api/v1/alerts", None, data=b"{", headers=wrong)
    eventually(lambda: '"broken"' in said.ask("GET", "/api/v1/notifications?state=dead").text, 20)
    eventually(lambda: any(post["path"].startswith("/good") for post in app.taken))
    for method, path, more in (
        ("POST", "/api/v1/alerts/a/ack", {"json": {"comment": "c"}}),
        ("DELETE", "/api/v1/alerts/a/ack", {}),
        ("POST", "/api/v1/alerts/a/verdict", {"json": {"verdict": "noise"}}),
        ("POST", "/api/v1/alerts/a/verdict", {"json": {"verdict": 3}}),
        ("POST", "/api/v1/notifications/1/retry", {}),
        ("GET", "/api/v1/alerts/a", {}),
        ("GET", "/api/v1/notifications/1", {}),
        ("GET", "/api/v1/dismissals", {}),
        ("GET", "/api/v1/openapi.json", {}),
        ("GET", "/", {}),
        ("GET", "/health", {}),
        ("GET", "/metrics", {}),
        ("GET", "/ack/1/1/x", {}),
    ):
        said.ask(method, path, **more)

    config = process.data_dir.parent / "cloudpulse.yaml"
    for bad in ("bearer_token: [{}]", "receivers: {}", "api_keys: [{{name: x, sha256: {}}}]", "bearer_token: *{}"):
        config.write_text(f"alert_bridge:\n  {bad.format(PLACES['reload'])}\n")
        seen = process.log.count("config not reloaded")
        os.kill(process.process.pid, signal.SIGHUP)
        eventually(lambda seen=seen: process.log.count("config not reloaded") > seen)
    process.process.terminate()
    process.process.wait(15)

    said.texts["log"] = process.log
    assert len(json.dumps(said.texts)) > 10_000
    assert '"audit"' in process.log
    found = [
        (place, name)
        for place, text in said.texts.items()
        for name, secret in PLACES.items()
        for spelling in spellings(secret)
        if spelling in text
    ]
    assert found == []
    with sqlite3.connect(process.data_dir / "outbox.db") as database:
        (signing,) = database.execute("SELECT value FROM keys").fetchone()
    everything = json.dumps(said.texts)
    assert signing not in everything
    assert not re.search(r"/(ack|undo)/[0-9a-f-]+/[0-9]+/[0-9a-f]{32}", process.log)
