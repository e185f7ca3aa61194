"""No secret leaves the bridge: one in every place of the config, everything exercised, everything said searched."""

import base64
import hashlib
import html
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from urllib.parse import quote

import pytest
import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from alert_bridge import testing_postgresql
from alert_bridge.bridge import Bridge
from alert_bridge.config import AlertBridgeSettings
from alert_bridge.insight import NoInsights
from alert_bridge.testing import eventually, webhook_body
from alert_bridge.testing_postgresql import PASSWORD, PostgresServer
from cloudpulse import config as reading
from cloudpulse.config import PrometheusSettings, Secret
from cloudpulse.errors import ConfigError, StoreError
from cloudpulse.testing import serving
from tests.alert_bridge.post_office import authority

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
    "webhook.hmac_secret": "hmac-secret-51f7",
    "webhook.broken": "broken-url-token-9d0c",
    "slack.token": "xoxb-slack-token-2e90",
    "slack.webhook_url": "slack-hook-token-bb04",
    "teams.url": "teams-signature-6c1d",
    "pagerduty.routing_key": "pagerdutykey08f7a1b2c3d4e5f60718",
    "email.password": "mail-password-d4b8",
    "apprise.user": "apprise-password-7ea3",
    "apprise.token": "apprise-token-f05c",
    "grafana.token": "glsa-grafana-token-93be",
    "prometheus.authorization": "prometheus-token-c81a",
    "reload": "secret-in-a-bad-config-1b2e",
}
"""Where a secret may be, and the one that is there in this test. A new place: a line here and in CONFIG.

The database's URL has a test of its own below.
"""

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
  grafana: {{url: "{to}/failing", token: {grafana.token}, live: true}}
  receivers:
    - {{name: good, type: webhook, url: "{to}/good/{webhook.url}?token={webhook.url}",
        hmac_secret: {webhook.hmac_secret},
        headers: {{X-Token: {webhook.headers}}}, authorization: {{credentials: {webhook.authorization}}}}}
    - {{name: refusing, type: webhook, url: "{to}/refusing/{webhook.url}", hmac_secret: {webhook.hmac_secret},
        basic_auth: {{username: bridge, password: {webhook.basic_auth}}}}}
    - {{name: failing, type: webhook, url: "{to}/failing/{webhook.url}", headers: {{X-Token: {webhook.headers}}},
        authorization: {{credentials: {webhook.authorization}}}}}
    - {{name: redirecting, type: webhook, url: "{to}/redirecting/{webhook.url}"}}
    - {{name: broken, type: webhook, url: "{nowhere}/{webhook.broken}"}}
    - {{name: slack-failing, type: slack, api_url: "{to}/failing", token: {slack.token}, channel: C1}}
    - {{name: slack-refusing, type: slack, api_url: "{to}/refusing", token: {slack.token}, channel: C1}}
    - {{name: slack-odd, type: slack, api_url: "{to}/good", token: {slack.token}, channel: C1}}
    - {{name: slack-broken, type: slack, api_url: "{nowhere}", token: {slack.token}, channel: C1}}
    - {{name: slack-hook-failing, type: slack, webhook_url: "{to}/failing/{slack.webhook_url}"}}
    - {{name: slack-hook-broken, type: slack, webhook_url: "{nowhere}/{slack.webhook_url}"}}
    - {{name: teams-failing, type: teams, url: "{to}/failing?sig={teams.url}"}}
    - {{name: teams-refusing, type: teams, url: "{to}/refusing?sig={teams.url}"}}
    - {{name: teams-broken, type: teams, url: "{nowhere}/x?sig={teams.url}"}}
    - {{name: pagerduty-failing, type: pagerduty, url: "{to}/failing", routing_key: {pagerduty.routing_key}}}
    - {{name: pagerduty-refusing, type: pagerduty, url: "{to}/refusing", routing_key: {pagerduty.routing_key}}}
    - {{name: pagerduty-broken, type: pagerduty, url: "{nowhere}", routing_key: {pagerduty.routing_key}}}
    - {{name: mail-refusing, type: email, host: 127.0.0.1, port: {smtp}, from: a@x.example, to: [b@x.example],
        username: bridge, password: {email.password}, tls_config: {{ca_file: "{ca}"}}}}
    - {{name: mail-broken, type: email, host: 127.0.0.1, port: 1, from: a@x.example, to: [b@x.example],
        username: bridge, password: {email.password}}}
    - {{name: apprise-failing, type: apprise,
        urls: ["json://bridge:{apprise.user}@{place}/failing/{apprise.token}?-X-Token={apprise.token}"]}}
    - {{name: apprise-refusing, type: apprise,
        urls: ["json://bridge:{apprise.user}@{place}/refusing/{apprise.token}?+X-Token={apprise.token}"]}}
    - {{name: apprise-broken, type: apprise, urls: ["json://bridge:{apprise.user}@127.0.0.1:1/{apprise.token}"]}}
prometheus:
  url: {to}/failing
  authorization: {{credentials: {prometheus.authorization}}}
"""


class Echo:
    """Answers as its path says, and tells back everything that it was sent, headers and all."""

    def __init__(self):
        self.paths = []

    def __call__(self, environ, start_response):
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        path = environ["PATH_INFO"]
        told = {name: value for name, value in environ.items() if isinstance(value, str)}
        echo = json.dumps({"ok": False, "error": json.dumps(told), "message": body.decode("latin-1")}).encode()
        status = {"good": "200 OK", "refusing": "400 No", "redirecting": "302 There"}.get(
            path.split("/")[1], "500 Oops"
        )
        start_response(status, [("Content-Type", "application/json"), ("Location", "http://127.0.0.1:1" + path)])
        self.paths.append(path)
        return [echo]


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

    def listen(self):
        """Every event so far."""
        heard = []
        place = f"{self.url.replace('http', 'ws', 1)}/api/v1/stream?last=1000"
        with connect(place, additional_headers={"X-API-Key": WRITE}) as client:
            try:
                while True:
                    heard.append(client.recv(1))
            except (TimeoutError, ConnectionClosed):
                self.texts["stream"] = "".join(heard)


def check(config, *options):
    """What `cloudpulse check` says of a config file."""
    done = subprocess.run(
        [sys.executable, "-m", "cloudpulse", "check", "--config", str(config), *options],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout + done.stderr


def spellings(secret):
    """The secret as it is, in a URL, in base64, and as basic auth, SMTP's AUTH PLAIN and a hash would show it."""
    pairs = [f"am:{secret}", f"bridge:{secret}", f"\0bridge\0{secret}", secret]
    encoded = [base64.b64encode(pair.encode()).decode().rstrip("=") for pair in pairs]
    return [secret, quote(secret, safe=""), html.escape(secret), hashlib.sha256(secret.encode()).hexdigest(), *encoded]


def found(texts, places):
    return [
        (place, name)
        for place, text in texts.items()
        for name, secret in places.items()
        for spelling in spellings(secret)
        if spelling in text
    ]


def written(place, lines):
    """The config file in the folder `place`, with other lines in its section."""
    config = place / "cloudpulse.yaml"
    config.write_text(f"alert_bridge:\n  data_dir: {place / 'data'}\n{lines}", encoding="utf-8")
    return config


@pytest.fixture
def echo():
    return Echo()


@pytest.fixture
def lines(post_office, tmp_path, echo):
    """The section with every secret in its place, and servers behind its URLs."""
    office = post_office("starttls", login=(b"bridge", b"another"))
    authority().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with serving(echo) as to:
        names = {
            "to": to,
            "place": to.removeprefix("http://"),
            "nowhere": "http://127.0.0.1:1",
            "smtp": str(office.port),
            "ca": str(tmp_path / "ca.pem"),
            "digest": hashlib.sha256(WRITE.encode()).hexdigest(),
        }
        text = CONFIG
        for name, value in (PLACES | names).items():
            text = text.replace(f"{{{name}}}", value)
        yield text.replace("{{", "{").replace("}}", "}")


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_no_secret_is_in_anything_that_the_bridge_says(start_bridge, lines, echo, log_format):
    process = start_bridge(lines, "--log-level", "debug", "--log-format", log_format)
    said = Said(process.url)
    exercise(said, process, lines, echo)
    said.texts["log"] = process.log
    assert len(json.dumps(said.texts)) > 50_000
    assert "audit" in process.log
    assert found(said.texts, PLACES) == []
    with sqlite3.connect(process.data_dir / "outbox.db") as database:
        (signing,) = database.execute("SELECT value FROM keys").fetchone()
    everything = json.dumps(said.texts)
    assert signing not in everything
    assert not re.search(r"/(ack|undo)/[0-9a-f-]+/[0-9]+/[0-9a-f]{32}", process.log)


def exercise(said, process, lines, echo):
    """Use every face of the bridge, rightly and wrongly, while every receiver fails in its own way."""
    asked = "http://prometheus.example/graph?g0.expr=up+%3D%3D+0&g0.tab=1"
    told = webhook_body(("a", "firing")).replace(b'"generatorURL": ""', f'"generatorURL": "{asked}"'.encode())
    hook = {"Authorization": f"Bearer {PLACES['bearer_token']}"}
    assert said.ask("POST", "/api/v1/alerts", None, data=told, headers=hook).ok
    basic = {"Authorization": "Basic " + base64.b64encode(f"am:{PLACES['basic_auth']}".encode()).decode()}
    assert said.ask("POST", "/api/v1/alerts", None, data=webhook_body(("b", "firing"), key="b"), headers=basic).ok
    for wrong in (hook | {"Authorization": hook["Authorization"] + "x"}, basic, hook):
        said.ask("GET", f"/api/v1/alerts?key={WRITE}", None, headers=wrong)
        said.ask("POST", "/api/v1/alerts", None, data=b"{", headers=wrong)
    receivers = re.findall(r"name: ([\w-]+), type", lines)
    waited = {*receivers, "grafana"} - {"good"}

    def dead():
        answer = said.ask("GET", "/api/v1/notifications?state=dead&limit=1000")
        return {entry["receiver"] for entry in answer.json()["notifications"]}

    eventually(lambda: waited <= dead(), 60)
    assert any(path.startswith("/good/url-token") for path in echo.paths)
    assert any(path.startswith("/failing/api/v1/query") for path in echo.paths), "Prometheus was asked, too"
    for method, path, more in (
        ("POST", "/api/v1/alerts/a/ack", {"json": {"comment": "c"}}),
        ("DELETE", "/api/v1/alerts/a/ack", {}),
        ("POST", "/api/v1/alerts/a/verdict", {"json": {"verdict": "noise"}}),
        ("POST", "/api/v1/alerts/a/verdict", {"json": {"verdict": 3}}),
        ("POST", "/api/v1/notifications/1/retry", {}),
        ("GET", "/api/v1/alerts/a", {}),
        ("GET", "/api/v1/notifications?limit=1000", {}),
        ("GET", "/api/v1/notifications/1", {}),
        ("GET", "/api/v1/dismissals", {}),
        ("GET", "/api/v1/openapi.json", {}),
        ("GET", "/", {}),
        ("GET", "/stream", {}),
        ("GET", "/health", {}),
        ("GET", "/metrics", {}),
        ("GET", "/ack/1/1/x", {}),
        ("GET", "/api/v1/nothing", {}),
    ):
        said.ask(method, path, **more)
    said.listen()
    for bad in ("bearer_token: [{}]", "receivers: {}", "api_keys: [{{name: x, sha256: {}}}]", "bearer_token: *{}"):
        written(process.data_dir.parent, f"  {bad.format(PLACES['reload'])}\n")
        seen = process.log.count("config not reloaded")
        os.kill(process.process.pid, signal.SIGHUP)
        eventually(lambda seen=seen: process.log.count("config not reloaded") > seen)
    process.process.terminate()
    process.process.wait(15)


def test_no_secret_is_in_what_check_says_of_a_config_and_of_what_people_get_wrong_in_it(lines, tmp_path):
    config = written(tmp_path, lines)
    texts = {"check": check(config, "--route", "alertname=Test"), "online": check(config, "--online")}
    assert "is fine" in texts["check"]
    assert "fail" in texts["online"]
    assert texts["online"].count("\n") > 2
    for name, secret in PLACES.items():
        if name == "reload" or secret not in lines:
            continue
        for number, wrong in enumerate((f"{secret}, surplus: 1", f"[{secret}]", f"*{secret}", f"{{{secret}: 1}}")):
            written(tmp_path, lines.replace(secret, wrong, 1))
            # In this process: a hundred starts of Python would take minutes.
            texts[f"check {name} {number}"] = complaint(config)
    assert len(texts) > 60
    assert found(texts, PLACES) == []


def complaint(config):
    """What reading the sections says, or what they look like; the hash of a key is there to be seen."""
    try:
        file = reading.read(config)
        made = file.section("alert_bridge", AlertBridgeSettings), file.section("prometheus", PrometheusSettings)
    except ConfigError as error:
        return str(error)
    return repr(made).replace(hashlib.sha256(WRITE.encode()).hexdigest(), "")


SECRET = {"database": PASSWORD}
OPTIONS = ("--web.listen-address", "127.0.0.1:0", "--log-level", "debug")


def refused(tmp_path, url):
    """Why there is no bridge on this database."""
    settings = AlertBridgeSettings(data_dir=tmp_path, database=Secret(url))
    with pytest.raises((StoreError, ConfigError)) as caught:
        Bridge(settings, NoInsights())
    return f"{caught.value} {settings!r}"


def ended(tmp_path, url):
    """What a bridge that can't use this database says; it must end by itself."""
    config = tmp_path / "cloudpulse.yaml"
    config.write_text(f"alert_bridge:\n  data_dir: {tmp_path}\n  database: '{url}'\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "cloudpulse", "alert-bridge", "--config", str(config), *OPTIONS],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    return done.stdout + done.stderr


@pytest.fixture
def own_postgresql():
    if (programs := testing_postgresql.programs()) is None:
        pytest.skip("needs PostgreSQL: sh .ci/programs test")
    server = PostgresServer(programs)
    yield server
    server.remove()


def test_the_databases_password_is_told_nobody(start_bridge, own_postgresql, tmp_path):
    url = own_postgresql.new_database()
    wrong = {
        "no host": re.sub(r"@[^/]+/", "@127.0.0.1:1/", url),
        "no name": re.sub(r"@[^/]+/", "@nowhere.invalid/", url),
        "no database": url.replace("/bridge", "/nothing"),
        "no user": url.replace("//cloudpulse:", "//stranger:"),
        "no port": re.sub(r":[0-9]+/", ":port/", url),
        "not escaped": url.replace(quote(PASSWORD, safe=""), PASSWORD),
    }
    texts = {name: refused(tmp_path, url) for name, url in wrong.items()}
    texts["ended"] = ended(tmp_path, wrong["no user"])
    texts["no URL"] = ended(tmp_path, url.replace("postgresql:", "mysql:"))
    assert "expected a URL such as postgresql://" in texts["no URL"]
    assert "stranger" in texts["ended"]
    assert "Traceback" not in texts["ended"]
    process = start_bridge(f"  database: '{url}'\n", "--log-level", "debug")
    said = Said(process.url)
    assert said.ask("POST", "/api/v1/alerts", None, data=webhook_body()).ok
    own_postgresql.stop()
    try:
        assert said.ask("POST", "/api/v1/alerts", None, data=webhook_body(key="b")).status_code == 503
        for path in ("/", "/health", "/-/ready", "/metrics", "/api/v1/alerts", "/api/v1/alerts/a", "/ack/1/1/x"):
            said.ask("GET", path, None)
    finally:
        own_postgresql.start()
    process.process.terminate()
    process.process.wait(15)
    said.texts["log"] = process.log
    assert found(said.texts | texts, SECRET) == []
