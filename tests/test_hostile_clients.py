"""Nothing that a client sends makes a service fail, hang or say what it shouldn't: each as a real process.

`make fuzz` tries 10,000 requests of each kind, the suite a few (CLOUDPULSE_FUZZ_CASES). How many slow clients at once
leave /metrics quick is measured by `benchmarks/slowloris.py`.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzzing import CASES, answered, raw, requests, tried
from tests.processes import SERVICES, TOKEN, Running, running

SHARED = ["/", "/metrics", "/-/healthy", "/-/ready", "/health", "/-/reload", "/favicon.ico", "/*", "*"]
PATHS = {
    "exporter": [],
    "forecaster": [
        "/console",
        "/console/main.js",
        "/api/v1/forecasts",
        "/api/v1/forecasts/up",
        "/api/v1/forecasts/up/series/0",
        "/api/v1/overview",
        "/api/v1/stream",
        "/api/v1/read",
        "/api/v1/query",
        "/api/v1/query_range",
        "/api/v1/series",
        "/api/v1/labels",
        "/api/v1/label/__name__/values",
        "/api/v1/metadata",
        "/api/v1/status/buildinfo",
    ],
    "alert-bridge": [
        "/api/v1/alerts",
        "/api/v1/alerts/f",
        "/api/v1/alerts/f/ack",
        "/api/v1/alerts/f/verdict",
        "/api/v1/notifications",
        "/api/v1/notifications/1",
        "/api/v1/dismissals",
        "/api/v1/stream",
        "/api/v1/openapi.json",
        "/stream",
        "/stream.js",
        "/ack",
    ],
    "scaler": [
        "/apis",
        "/apis/external.metrics.k8s.io/v1beta1/namespaces/n/up",
        "/apis/custom.metrics.k8s.io/v1beta2/namespaces/n/pods/*/up",
        "/openapi/v2",
        "/openapi/v3",
        "/livez",
        "/readyz",
    ],
}
PARAMETERS = {
    "exporter": ["collect[]", "exclude[]", "name[]"],
    "forecaster": ["query", "time", "start", "end", "step", "timeout", "match[]", "limit", "past", "kinds", "forecast"],
    "alert-bridge": ["current", "state", "limit", "after", "last", "kinds", "receiver", "status", "match", "t", "k"],
    "scaler": ["labelSelector", "metricLabelSelector", "limit", "watch", "timeout"],
}
STREAM = (
    b"GET /api/v1/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
OWN = (501, 503, 505)
"""Statuses of 500 and more that are an answer: an unknown coding, not ready, another HTTP."""


@pytest.fixture(scope="module", params=SERVICES)
def one(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Running]]:
    with running(request.param, tmp_path_factory.mktemp(request.param)) as made:
        yield request.param, made
        assert "Traceback" not in made.log.read_text()


def _right(made: Running, data: bytes) -> None:
    for status in answered(made.port, data, made.secure):
        assert status < 500 or status in OWN, (status, data)


@pytest.mark.timeout(120 + CASES)
def test_whole_requests_are_answered(one: tuple[str, Running]) -> None:
    service, made = one
    whole = requests([*SHARED, *PATHS[service]], PARAMETERS[service])
    if service == "scaler":  # with and without a key to it
        key = f"\r\nAuthorization: Bearer {TOKEN}\r\n".encode()
        whole = st.builds(lambda data, known: data.replace(b"\r\n", key, 1) if known else data, whole, st.booleans())

    @tried
    @given(whole)
    def ask(data: bytes) -> None:
        _right(made, data)

    ask()
    assert made.get("/-/healthy")[0] == 200


@pytest.mark.timeout(120 + CASES)
def test_bytes_that_are_no_request_are_refused_and_the_next_is_served(one: tuple[str, Running]) -> None:
    _, made = one

    @tried
    @given(raw)
    def ask(data: bytes) -> None:
        _right(made, data)

    ask()
    assert made.get("/-/healthy")[0] == 200


def test_all_slow_clients_at_once_hold_up_nobody_and_no_stop(one: tuple[str, Running]) -> None:
    """More of each than there are worker threads."""
    service, made = one
    with contextlib.ExitStack() as clients:
        for _ in range(40):
            for start in (b"GET / HTTP/1.1\r\nX: ", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\nx"):
                clients.enter_context(made.connect()).sendall(start)
            unread = clients.enter_context(made.connect())
            unread.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            unread.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
            clients.enter_context(socket.create_connection(("127.0.0.1", made.port), 20))
        if service in ("forecaster", "alert-bridge"):
            stream = clients.enter_context(made.connect())
            stream.sendall(STREAM)
            assert stream.recv(12) == b"HTTP/1.1 101"
        assert made.get("/metrics")[0] == 200
        began = time.monotonic()
        made.process.send_signal(signal.SIGTERM)
        assert made.process.wait(15) == 0
    assert time.monotonic() - began < 10, "the contract's 10 s"
