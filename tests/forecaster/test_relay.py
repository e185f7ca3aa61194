"""The relay: what a real alert bridge's stream tells reaches the forecaster's clients, through kills and refusals."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from alert_bridge.testing import BridgeProcess, eventually, free_port, webhook_body
from cloudpulse import options
from cloudpulse.config import ClientTls, Secret
from cloudpulse.testing import query_api, serving
from forecaster import relay
from forecaster.config import AlertBridge
from forecaster.relay import Relay
from tests.forecaster.process import ForecasterProcess, Playing
from tests.forecaster.test_live import hear

KEY = "k-0123456789"


def post(bridge: BridgeProcess, fingerprint: str) -> None:
    body = webhook_body((fingerprint, "firing"), key=fingerprint)
    requests.post(f"{bridge.url}/api/v1/alerts", data=body, timeout=10).raise_for_status()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries again soon."""
    monkeypatch.setattr(relay, "FIRST_PAUSE_SECONDS", 0.1)


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[BridgeProcess]:
    process = BridgeProcess(tmp_path / "bridge", "", "--web.listen-address", f"127.0.0.1:{free_port()}")
    try:
        yield process
    finally:
        process.kill()


@contextmanager
def relaying(url: str, **more: Any) -> Iterator[tuple[Relay, list[Any]]]:
    """A relay to which somebody listens, and what it has told that wasn't to be forgotten since."""
    told: list[Any] = []
    made = Relay(AlertBridge(url=url, **more), lambda: True, lambda text: told.append(json.loads(text)), told.clear)
    made.start()
    try:
        yield made, told
    finally:
        made.close()


def fingerprints(told: list[Any]) -> list[str]:
    return [alert["fingerprint"] for one in told if one["kind"] == "alerts" for alert in one["alerts"]]


def test_through_a_kill_each_alert_is_told_once(bridge: BridgeProcess) -> None:
    post(bridge, "before")
    with relaying(bridge.url) as (made, told):
        eventually(lambda: fingerprints(told) == ["before"])
        assert made.state == "connected"
        bridge.kill()
        eventually(lambda: (made.state or "").startswith("not connected"))
        bridge.start()
        post(bridge, "after")
        eventually(lambda: fingerprints(told) == ["before", "after"], 30)
        assert not any(one["kind"] in ("hello", "delivered", "pending") for one in told)


def test_nothing_is_asked_while_nobody_listens(bridge: BridgeProcess) -> None:
    listening: list[int] = []
    told: list[bytes] = []
    made = Relay(AlertBridge(url=bridge.url), lambda: bool(listening), told.append)
    made.start()
    try:
        post(bridge, "a")
        assert made.state == "not tried: nobody listens"
        listening.append(1)
        eventually(lambda: len(told) == 1)
    finally:
        made.close()


def test_a_key_is_shown_to_a_bridge_that_asks_for_one_and_to_nobody_else(tmp_path: Path) -> None:
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    bridge = BridgeProcess(tmp_path, f"  api_keys: [{{name: forecaster, sha256: {digest}}}]\n")
    try:
        with relaying(bridge.url, api_key=Secret(KEY)) as (made, _):
            eventually(lambda: made.state == "connected")
        with relaying(bridge.url) as (made, _):
            wanted = "not connected: it answered 401: set forecaster.alert_bridge.api_key_file"
            eventually(lambda: made.state == wanted)
        with relaying(bridge.url, api_key=Secret("wrong")) as (made, _):
            eventually(lambda: made.state == wanted)
    finally:
        bridge.kill()


def test_a_redirect_is_not_followed(logged: list[dict[str, Any]]) -> None:
    """It would take the key to another host."""
    asked: list[str] = []

    def elsewhere(environ: Any, start_response: Callable[..., Any]) -> list[bytes]:
        asked.append("elsewhere")
        start_response("404 Not Found", [("Content-Length", "0")])
        return []

    with serving(elsewhere) as target:

        def redirect(environ: Any, start_response: Callable[..., Any]) -> list[bytes]:
            asked.append(environ["HTTP_X_API_KEY"])
            start_response("302 Found", [("Location", f"{target}/api/v1/stream"), ("Content-Length", "0")])
            return []

        with serving(redirect) as url, relaying(url, api_key=Secret(KEY)) as (made, _):
            eventually(lambda: (made.state or "").startswith("not connected"))
    assert asked[0] == KEY
    assert "elsewhere" not in asked
    assert KEY not in (made.state or "")
    assert KEY not in str(logged)


def test_the_certificate_of_the_bridge_is_verified(tmp_path: Path) -> None:
    authority = trustme.CA()
    pem, ca = tmp_path / "server.pem", tmp_path / "ca.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(pem))
    authority.cert_pem.write_to_path(str(ca))
    web = tmp_path / "web.yml"
    web.write_text(f"tls_server_config: {{cert_file: {pem}, key_file: {pem}}}")

    def absent(environ: Any, start_response: Callable[..., Any]) -> list[bytes]:
        start_response("404 Not Found", [("Content-Length", "0")])
        return []

    server = options.serve(absent, options.WebOptions("127.0.0.1:0", web), threads=2)
    stop = threading.Event()
    thread = threading.Thread(target=server.run, args=(stop,), daemon=True)
    thread.start()
    url = f"https://localhost:{server.port}"
    try:
        with relaying(url, api_key=Secret(KEY)) as (made, _):
            eventually(lambda: made.state == "not connected: TLS: CERTIFICATE_VERIFY_FAILED")
        with relaying(url, tls_config=ClientTls(ca_file=ca)) as (made, _):
            eventually(lambda: made.state == "not connected: it answered 404")
    finally:
        stop.set()
        thread.join(10)


def test_another_bridge_is_asked_from_its_beginning(bridge: BridgeProcess) -> None:
    """Its ids are others: those of the one before mean nothing there."""
    post(bridge, "a")
    with relaying(f"http://127.0.0.1:{free_port()}") as (made, told):
        eventually(lambda: (made.state or "").startswith("not connected"))
        made.apply(AlertBridge(url=bridge.url))
        eventually(lambda: fingerprints(told) == ["a"])
        made.apply(None)
        eventually(lambda: made.state is None)
        assert told == [], "what the one before said is not so any more"


@pytest.mark.parametrize(
    ("status", "body", "state"),
    [("404 Not Found", b"", "it answered 404"), ("200 OK", b"hello", "it answered 200")],
)
def test_a_server_that_is_no_bridge_is_a_fact_and_no_error(status: str, body: bytes, state: str) -> None:
    def answer(environ: Any, start_response: Callable[..., Any]) -> list[bytes]:
        start_response(status, [("Content-Length", str(len(body)))])
        return [body]

    with serving(answer) as url, relaying(url) as (made, told):
        eventually(lambda: made.state == f"not connected: {state}")
    assert not told


HELLO, ACKED = '{"id": 1, "kind": "hello"}', '{"id": 10, "kind": "acked"}'


@pytest.mark.parametrize(
    ("messages", "state"),
    [
        ([], "not connected: it has said nothing yet"),
        ([HELLO], "connected"),
        ([HELLO, '{"id": 2, "kind": "alerts"}', '{"id": 9, "kind": "reset"}', ACKED], "connected"),
        (["hello"], "not connected: it is no alert bridge: check forecaster.alert_bridge.url"),
        ([b"\xff"], "not connected: it is no alert bridge: check forecaster.alert_bridge.url"),
        ([HELLO, "x" * 2**20 + "x"], "not connected: given up, 1009 (message too big)"),
    ],
)
def test_what_a_bridge_says_or_does_not_say_is_told_in_health(messages: list[str | bytes], state: str) -> None:
    over = threading.Event()

    def speak(client: ServerConnection) -> None:
        for message in messages:
            client.send(message)
        over.wait(30)

    with serve(speak, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            with relaying(f"http://127.0.0.1:{server.socket.getsockname()[1]}") as (made, told):
                eventually(lambda: (made.state or "").startswith(state))
                left = ["acked"] if ACKED in messages else []  # what came before a reset is forgotten
                eventually(lambda: [one["kind"] for one in told] == left)
        finally:
            over.set()
            server.shutdown()
            thread.join(10)


def test_a_bridge_that_stays_away_is_tried_again_and_logged_once(
    monkeypatch: pytest.MonkeyPatch, logged: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(relay, "FIRST_PAUSE_SECONDS", 0.01)
    asked: list[str] = []

    def away(environ: Any, start_response: Callable[..., Any]) -> list[bytes]:
        asked.append(environ["QUERY_STRING"])
        start_response("502 Bad Gateway", [("Content-Length", "0")])
        return []

    with serving(away) as url, relaying(url):
        eventually(lambda: len(asked) >= 3)
    assert str(logged).count("alerts not relayed") == 1


def test_a_bridge_that_is_absent_is_told_in_health_and_heard_when_it_comes(tmp_path: Path) -> None:
    port = free_port()
    with serving(query_api(Playing().source)) as prometheus:
        lines = f"  alert_bridge: {{url: 'http://127.0.0.1:{port}'}}\n"
        forecaster = ForecasterProcess(tmp_path / "forecaster", prometheus, lines)
        bridge = None
        try:
            with connect(forecaster.stream("?kinds=alert")) as client:
                hear(client, "hello")
                wanted = "not connected: Connection refused"
                eventually(lambda: forecaster.get("/health")["alert bridge"] == wanted)
                eventually(lambda: forecaster.get("/health")["ready"])
                # It comes: the newest alerts first, then what happens.
                bridge = BridgeProcess(tmp_path / "bridge", "", "--web.listen-address", f"127.0.0.1:{port}")
                post(bridge, "early")
                assert hear(client, "alert")["alert"]["alerts"][0]["fingerprint"] == "early"
                with connect(forecaster.stream()) as late:
                    assert hear(late, "alert")["alert"]["alerts"][0]["fingerprint"] == "early"
                post(bridge, "live")
                assert hear(client, "alert")["alert"]["alerts"][0]["fingerprint"] == "live"
        finally:
            forecaster.kill()
            if bridge is not None:
                bridge.kill()
