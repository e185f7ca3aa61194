"""Requests over a real socket: what a client, the log and a collector hear of each, also when it breaks."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from alert_bridge.testing import eventually
from cloudpulse import otlp, trace, tracing
from cloudpulse.serving import in_thread
from cloudpulse.testing import captured_logs, serving
from cloudpulse.traced import SHOWN_PATH, Traced
from tests.otlp import Got, collecting

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


def _app(environ: dict[str, Any], start_response: Any) -> Any:
    path = environ["PATH_INFO"]
    if path.startswith("/ack/"):
        environ[SHOWN_PATH] = "/ack/…"
    if path.startswith(("/raise", "/ack/")):
        raise RuntimeError("a bug")
    if path == "/upload":
        environ["wsgi.input"].read(1)
    start_response("200 OK", [])
    if path == "/list":
        return [b"abc", b"de"]
    if path == "/state":
        return [repr(trace.headers()).encode()]
    return _pieces(path)


def _pieces(path: str) -> Iterator[bytes]:
    if path == "/early":
        raise RuntimeError("a bug")
    yield b"abc"
    if path == "/late":
        raise RuntimeError("a bug")
    yield b"de"


@pytest.fixture
def url() -> Iterator[str]:
    with in_thread(Traced(_app, access_log=True), "127.0.0.1:0") as url:
        yield url


def _ask(url: str, path: str, method: str = "GET", data: bytes = b"") -> requests.Response:
    return requests.request(method, url + path, headers={"traceparent": PARENT}, data=data, timeout=10)


def _line(lines: list[dict[str, Any]]) -> dict[str, Any]:
    eventually(lambda: any(line["event"] == "request" for line in lines))
    (line,) = [line for line in lines if line["event"] == "request"]
    return line


@pytest.mark.parametrize(
    ("path", "method", "data", "status"),
    [("/raise", "GET", b"", 500), ("/early", "GET", b"", 500), ("/upload", "POST", b"x" * 70_000, 413)],
)
def test_a_request_that_breaks_is_answered_and_logged_with_its_id(
    url: str, path: str, method: str, data: bytes, status: int
) -> None:
    with captured_logs() as lines:
        answer = _ask(url, path, method, data)
        assert (answer.status_code, answer.headers["X-Request-Id"]) == (status, TRACE_ID)
        assert (_line(lines)["status"], _line(lines)["path"]) == (status, path)


def test_a_path_that_is_a_secret_is_in_no_line_of_a_request_that_breaks(url: str) -> None:
    with captured_logs() as lines:
        assert _ask(url, "/ack/s3cret").status_code == 500
        _line(lines)
    assert {line["event"]: line.get("target", line.get("path")) for line in lines} == {
        "request failed": "GET /ack/…",
        "request": "/ack/…",
    }


def test_an_answer_that_breaks_in_the_middle_has_a_line_of_what_was_sent(url: str) -> None:
    with captured_logs() as lines:
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            _ask(url, "/late")
        assert (_line(lines)["status"], _line(lines)["bytes"]) == (200, 3)


@pytest.mark.parametrize(("method", "sent"), [("GET", 5), ("HEAD", 0)])
@pytest.mark.parametrize("path", ["/list", "/pieces"])
def test_the_bytes_of_a_line_are_those_that_were_sent(url: str, path: str, method: str, sent: int) -> None:
    with captured_logs() as lines:
        assert len(_ask(url, path, method).content) == sent
        assert _line(lines)["bytes"] == sent


def test_a_body_that_is_there_at_once_keeps_its_length_while_it_is_watched(url: str) -> None:
    answer = _ask(url, "/list")
    assert (answer.headers.get("Content-Length"), answer.headers.get("Transfer-Encoding")) == ("5", None)


def test_the_states_of_several_headers_are_one_and_several_parents_are_none(url: str) -> None:
    """3.3.1 and RFC 9110, 5.3."""
    host = urlsplit(url)

    def asked(*headers: str) -> str:
        with socket.create_connection((host.hostname or "", host.port or 0), 10) as client:
            lines = ["GET /state HTTP/1.1", "Host: x", "Connection: close", *headers, "", ""]
            client.sendall("\r\n".join(lines).encode())
            return b"".join(iter(lambda: client.recv(65536), b"")).decode()

    told = asked(f"traceparent: {PARENT}", "tracestate: a=1", "tracestate: b=2, c=3")
    assert "'tracestate': 'a=1, b=2, c=3'" in told
    assert TRACE_ID not in asked(f"traceparent: {PARENT}", f"traceparent: {PARENT}")


def test_nothing_of_a_request_is_left_on_the_thread_that_served_it() -> None:
    with in_thread(Traced(_app), "127.0.0.1:0") as url, captured_logs() as lines:
        host = urlsplit(url)
        assert _ask(url, "/list").ok
        # By the same thread, since it is idle, and refused before there is any trace.
        with socket.create_connection((host.hostname or "", host.port or 0), 10) as client:
            client.sendall(b"GET nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
            told = b"".join(iter(lambda: client.recv(65536), b"")).decode()
        assert "400 Bad Request" in told
        assert "X-Request-Id" not in told
        assert lines == []


def _spans(path: str, *, ok: bool = True, method: str = "GET") -> Got:
    with collecting() as collector:
        recorder = otlp.Recorder("test", tracing.TracingSettings(endpoint=collector.url))
        trace.record(recorder)
        try:
            with serving(Traced(_app)) as url:
                if ok:
                    _ask(url, path, method)
                else:
                    with pytest.raises(requests.exceptions.ChunkedEncodingError):
                        _ask(url, path, method)
        finally:
            recorder.close()
        (span,) = collector.spans
        return span


@pytest.mark.parametrize(
    ("path", "ok", "status", "failed"),
    [
        ("/raise", True, 500, "RuntimeError"),
        ("/early", True, 500, "RuntimeError"),
        ("/late", False, 200, "RuntimeError"),
        ("/list", True, 200, None),
        ("/pieces", True, 200, None),
    ],
)
def test_each_request_is_a_span_with_how_it_ended(path: str, ok: bool, status: int, failed: str | None) -> None:
    span = _spans(path, ok=ok)
    assert (span.name, span.trace_id, span.parent) == ("GET", TRACE_ID, PARENT[36:52])
    assert (span.attributes["http.response.status_code"], span.failed) == (status, failed)


def test_a_method_that_someone_made_up_is_no_name_of_a_span() -> None:
    assert _spans("/list", method="BREW").name == "_OTHER"
