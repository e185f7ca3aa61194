import base64
import contextlib
import hashlib
import http.client
import socket
import ssl
import threading

import bcrypt
import pytest
import requests
import trustme

from alert_bridge.access import Access, Denied
from alert_bridge.bridge import Bridge
from alert_bridge.config import AlertBridgeSettings
from alert_bridge.insight import NoInsights
from alert_bridge.notifiers.webhook import WebhookReceiver
from alert_bridge.testing import eventually, webhook_body
from cloudpulse import options
from cloudpulse.apikeys import ApiKey
from cloudpulse.config import BasicAuth, Secret
from cloudpulse.denials import MOST_DENIALS
from cloudpulse.errors import ConfigError
from cloudpulse.options import WebOptions
from cloudpulse.testing import captured_logs

READ, WRITE, HOOK = "r" * 32, "w" * 32, "h" * 32


def digest(key):
    return hashlib.sha256(key.encode()).hexdigest()


KEYS = (ApiKey(name="grafana", sha256=digest(READ)), ApiKey(name="anna", sha256=digest(WRITE).upper(), role="write"))
LISTS, RETRY, WEBHOOK = ("GET", "/api/v1/alerts"), ("POST", "/api/v1/notifications/7/retry"), ("POST", "/api/v1/alerts")


def ask(url, what, **headers):
    method, path = what
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.request(method, url + path, data=webhook_body(), headers=named, timeout=10)


def bearer(text):
    return {"Authorization": f"Bearer {text}"}


def basic(user, password):
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_with_keys_reading_needs_one_and_changing_one_that_may_write(bridge):
    url = bridge(api_keys=KEYS)
    expected = {
        LISTS: {"none": 401, "wrong": 401, "read": 200, "write": 200},
        RETRY: {"none": 401, "wrong": 401, "read": 403, "write": 404},
        WEBHOOK: {"none": 401, "wrong": 401, "read": 403, "write": 200},
        ("GET", "/api/v1/nothing"): {"none": 401, "wrong": 401, "read": 404, "write": 404},
    }
    given = {"none": {}, "wrong": bearer("x"), "read": bearer(READ), "write": {"X-API-Key": WRITE}}
    for what, answers in expected.items():
        assert {name: ask(url, what, **headers).status_code for name, headers in given.items()} == answers, what
    assert requests.get(f"{url}/-/ready", timeout=10).status_code == 200


@pytest.mark.parametrize("path", ["//api/v1/alerts", "/api//v1/alerts", "/%61pi/v1/alerts", "/x/../api/v1/alerts"])
def test_no_way_to_write_a_path_leads_past_the_key(bridge, path):
    """`requests` would tidy the path up before it sends it."""
    host, _, port = bridge(api_keys=KEYS).removeprefix("http://").partition(":")
    for method in ("GET", "POST"):
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        with contextlib.closing(connection):
            connection.request(method, path, body=webhook_body() if method == "POST" else None)
            answer = connection.getresponse()
            assert answer.status in (308, 401, 404, 405)
            assert b'"alerts"' not in answer.read()


def test_alertmanagers_credential_opens_only_the_webhook_once_there_are_keys(bridge):
    url = bridge(api_keys=KEYS, bearer_token=Secret(HOOK), basic_auth=BasicAuth(username="am", password=Secret("ä:b")))
    for headers in (bearer(HOOK), basic("am", "ä:b")):
        assert ask(url, WEBHOOK, **headers).status_code == 200
        assert ask(url, LISTS, **headers).status_code == 401
        assert ask(url, RETRY, **headers).status_code == 401
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 10) as client:
        # As Alertmanager sends http://bridge:9812/ + /api/v1/alerts, which `requests` would tidy up.
        body = webhook_body()
        token = bearer(HOOK)["Authorization"]
        head = f"POST //api/v1/alerts HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\nConnection: close\r\n"
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert client.makefile("rb").readline().split()[1] == b"200"
    for headers in (basic("am", "ä"), basic("", "ä:b"), basic("am", ""), {"Authorization": "Basic ä"}, bearer("")):
        refused = ask(url, WEBHOOK, **headers)
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"] == 'Bearer, Basic realm="cloudpulse"'


def test_without_keys_what_opens_the_webhook_opens_every_change_and_reading_is_free(bridge):
    url = bridge(basic_auth=BasicAuth(username="am", password=Secret("secret")))
    assert ask(url, LISTS).status_code == 200
    assert ask(url, RETRY).status_code == 401
    assert ask(url, RETRY, **basic("am", "secret")).status_code == 404


def test_a_bridge_open_to_everyone_says_so_once(tmp_path):
    with captured_logs() as lines:
        one = Bridge(AlertBridgeSettings(data_dir=tmp_path), NoInsights())
        one.start()
        one.close()
    assert [line["level"] for line in lines if "anyone" in line["event"]] == ["warning"]


def test_who_gave_the_web_configs_password_is_known_by_it_and_has_no_more_rights():
    def identified(settings, **environ):
        access = Access(settings, lambda *_: None)
        return access.identify({"REQUEST_METHOD": "POST", "PATH_INFO": "/api/v1/alerts/a/ack", **environ})

    alice = identified(AlertBridgeSettings(), REMOTE_USER="alice")
    assert (alice.name, alice.person(""), alice.person("Anna")) == ("user:alice", "alice", "Anna")
    assert identified(AlertBridgeSettings()).name == "anyone"
    with pytest.raises(Denied):
        identified(AlertBridgeSettings(api_keys=KEYS), REMOTE_USER="alice")


def test_a_client_certificate_by_its_name_opens_the_webhook(tmp_path):
    ca, stranger = trustme.CA(), trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    ca.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    (tmp_path / "web.yml").write_text(
        "tls_server_config: {cert_file: server.pem, key_file: server.pem, client_ca_file: ca.pem, "
        "client_auth_type: VerifyClientCertIfGiven}"
    )

    def certificate(authority, name):
        path = tmp_path / f"{name}-{id(authority)}.pem"
        authority.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(str(path))
        return str(path)

    settings = AlertBridgeSettings(data_dir=tmp_path / "data", client_certificates=("alertmanager.example",))
    one = Bridge(settings, NoInsights())
    server, stop = options.serve(one.face, WebOptions("127.0.0.1:0", tmp_path / "web.yml")), threading.Event()
    threading.Thread(target=server.run, args=(stop,)).start()

    def post(cert=None):
        url = f"https://localhost:{server.port}/api/v1/alerts"
        return requests.post(url, data=webhook_body(), cert=cert, verify=tmp_path / "ca.pem", timeout=10).status_code

    try:
        assert post(certificate(ca, "alertmanager.example")) == 200
        assert post(certificate(ca, "grafana.example")) == 401
        assert post() == 401
        with contextlib.suppress(requests.ConnectionError, ssl.SSLError):
            pytest.fail(f"taken: {post(certificate(stranger, 'alertmanager.example'))}")
    finally:
        stop.set()
        one.close()


def test_behind_the_web_configs_basic_auth_a_key_comes_in_a_header_of_its_own(tmp_path):
    """One request has one Authorization header."""
    hashed = bcrypt.hashpw(b"people", bcrypt.gensalt(4)).decode()
    (tmp_path / "web.yml").write_text(f"basic_auth_users: {{web: '{hashed}'}}")
    both = BasicAuth(username="web", password=Secret("people"))
    one = Bridge(AlertBridgeSettings(data_dir=tmp_path / "data", api_keys=KEYS, basic_auth=both), NoInsights())
    server, stop = options.serve(one.face, WebOptions("127.0.0.1:0", tmp_path / "web.yml")), threading.Event()
    threading.Thread(target=server.run, args=(stop,)).start()
    user = basic("web", "people")
    try:
        url = f"http://localhost:{server.port}"
        assert ask(url, LISTS, **user, X_API_Key=READ).status_code == 200
        assert "API key" in ask(url, LISTS, **user).json()["error"]
        assert ask(url, LISTS, **bearer(READ)).status_code == 401
        assert ask(url, LISTS, X_API_Key=READ).status_code == 401
        assert ask(url, WEBHOOK, **user).status_code == 200, "the same user here, as Alertmanager can send no more"
        assert ask(url, RETRY, **user, X_API_Key=READ).status_code == 403
    finally:
        stop.set()
        one.close()


def environ(method="GET", path="/api/v1/stream", **more):
    return {"REQUEST_METHOD": method, "PATH_INFO": path, **more}


def access(**settings):
    return Access(AlertBridgeSettings(**settings), lambda *_: None)


def test_a_browser_brings_its_key_for_the_websocket_as_a_subprotocol():
    protocols = f"cloudpulse.v1, cloudpulse.key.{READ}"
    asked = environ(HTTP_UPGRADE="WebSocket", HTTP_SEC_WEBSOCKET_PROTOCOL=protocols)
    assert access(api_keys=KEYS).identify(asked).name == "key:grafana"
    with pytest.raises(Denied) as denied:  # elsewhere it would end up in places that nobody expects
        access(api_keys=KEYS).identify(environ(HTTP_SEC_WEBSOCKET_PROTOCOL=protocols))
    assert (denied.value.status, denied.value.cause) == (401, "no_credentials")


def test_a_hash_may_come_from_a_file_as_sha256sum_writes_it(tmp_path):
    (tmp_path / "hash").write_text(f"{digest(READ)}  -\n")
    keys = (ApiKey(name="a", sha256_file=tmp_path / "hash"),)
    assert access(api_keys=keys).identify(environ(HTTP_X_API_KEY=READ)).name == "key:a"
    (tmp_path / "hash").write_text(READ)
    with pytest.raises(ConfigError, match="64 hex digits") as error:
        access(api_keys=keys)
    assert READ not in str(error.value)
    with pytest.raises(ValueError, match="64 hex digits") as wrong:
        ApiKey(name="a", sha256=READ)
    assert READ not in str(wrong.value)


def test_an_empty_secret_is_refused_at_start(tmp_path):
    (tmp_path / "token").write_text("\n")
    with pytest.raises(ConfigError, match="bearer_token: expected a secret"):
        access(bearer_token_file=tmp_path / "token")


def test_denials_are_counted_and_told_without_what_was_given(bridge):
    url = bridge(api_keys=KEYS)
    with captured_logs() as lines:
        for _ in range(MOST_DENIALS + 5):
            ask(url, ("GET", "/api/v1/alerts?api_key=s3cret"), **bearer("wr0ng"))
        ask(url, RETRY, **bearer(READ))
        ask(url, WEBHOOK)
    told = [line for line in lines if line["event"] == "denied"]
    lost = told.pop()
    assert (lost["level"], lost["cause"], "webhook_config" in lost["hint"]) == ("error", "no_credentials", True)
    assert len(told) == MOST_DENIALS + 1
    assert (told[0]["action"], told[0]["from"]) == ("GET /api/v1/alerts", "127.0.0.1")
    assert (told[-1]["cause"], told[-1]["why"][:19]) == ("forbidden", "the API key grafana")
    assert not [secret for secret in ("s3cret", "wr0ng", READ) if secret in str(lines)]
    metrics = requests.get(f"{url}/metrics", timeout=10).text
    assert f'cloudpulse_alert_bridge_denied_total{{reason="wrong_credentials"}} {MOST_DENIALS + 5}' in metrics
    assert 'cloudpulse_alert_bridge_denied_total{reason="no_credentials"} 1' in metrics
    assert 'groups_rejected_total{reason="unauthorized"} 1' in metrics


def test_a_change_leaves_a_line_that_says_who_and_what(bridge, receiver):
    app, to = receiver
    app.answer = lambda post: (400, {})
    url = bridge(api_keys=KEYS, receivers=(WebhookReceiver(name="one", url=Secret(to)),))
    ask(url, WEBHOOK, **bearer(WRITE))
    dead = f"{url}/api/v1/notifications?state=dead"
    eventually(lambda: requests.get(dead, headers=bearer(WRITE), timeout=10).json()["notifications"] != [])
    with captured_logs() as lines:
        ask(url, ("POST", "/api/v1/notifications/1/retry"), X_API_Key=WRITE, X_Forwarded_For="10.0.0.1\t\x9b2J")
    (line,) = [line for line in lines if line["event"] == "audit"]
    assert (line["who"], line["action"], line["notification"]) == ("key:anna", "retry", 1)
    assert (line["from"], line["forwarded_for"]) == ("127.0.0.1", {"unverified": "10.0.0.1\t\x9b2J"})
