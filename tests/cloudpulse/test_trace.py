from __future__ import annotations

import contextvars
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudpulse import trace
from cloudpulse.testing import captured_logs
from cloudpulse.traced import ROUTE, SHOWN_PATH, USER, Traced

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_traceparent_is_read_and_written_as_the_recommendation_has_it() -> None:
    found = trace.parsed(PARENT)
    assert found == trace.Trace("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", True)
    assert found.parent == PARENT


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "00",
        PARENT.upper(),
        PARENT + "-more",
        "ff" + PARENT[2:],
        PARENT[:-1],
        PARENT + "\n",
        "00-" + "0" * 32 + PARENT[35:],
        PARENT[:36] + "0" * 16 + "-01",
        PARENT.replace("4bf9", "4bg9"),
        PARENT.replace("4bf9", "\u0664bf9"),
        "01" + PARENT[2:] + "more",
        "cc" + PARENT[2:] + "-" + "a" * 1000,
    ],
)
def test_what_is_no_traceparent_is_as_if_it_were_not_there(header: str | None) -> None:
    assert trace.parsed(header) is None


def test_a_version_to_come_is_read_as_far_as_it_is_known() -> None:
    """3.2.4 Versioning of the recommendation."""
    for header in ("cc" + PARENT[2:], "cc" + PARENT[2:] + "-what-the-future-will-be-like"):
        assert trace.parsed(header) == trace.parsed(PARENT)


@pytest.mark.parametrize("state", ["", "a" * 513, "x=\n", "x=é", " ", ",".join(["a=1"] * 33)])
def test_a_state_that_can_not_be_passed_on_leaves_the_trace_whole(state: str) -> None:
    assert trace.parsed(PARENT, state) == trace.parsed(PARENT)


def test_what_others_keep_in_the_state_is_passed_on_as_it_came() -> None:
    found = trace.parsed(PARENT, " rojo=00f067aa0ba902b7, congo=t61rcWkgMzE ")
    assert found is not None
    assert trace.restored(found.stored) == found
    with trace.within(found), trace.span("query"):
        told = {"traceparent": PARENT, "tracestate": "rojo=00f067aa0ba902b7, congo=t61rcWkgMzE"}
        assert trace.headers() == told


def test_a_long_state_is_cut_as_the_recommendation_has_it() -> None:
    """3.3.1.5 Limits: entries above 128 bytes go first, then the last ones."""
    large, small = f"large={'x' * 130}", [f"v{number}={'y' * 57}" for number in range(8)]  # 60 bytes each
    found = trace.parsed(PARENT, ",".join([small[0], large, *small[1:], "last=1"]))
    assert found is not None
    assert found.state == ",".join([*small, "last=1"])
    found = trace.parsed(PARENT, ", ".join([*small, "other=" + "z" * 20, "last=1"]))
    assert found is not None
    assert found.state == ",".join(small)


@given(st.text(max_size=80), st.text(max_size=80))
def test_no_text_breaks_it(text: str, state: str) -> None:
    assert trace.parsed(text) == trace.restored(text.partition(" ")[0])
    found = trace.parsed(PARENT, state)
    assert found is not None
    assert trace.restored(found.stored) == found


def test_work_outside_of_any_trace_begins_one_and_work_within_it_stays() -> None:
    assert (trace.identifier(), dict(trace.headers())) == ("", {})
    with trace.span("forecast round"):
        first = trace.identifier()
        assert re.fullmatch("[0-9a-f]{32}", first)
        with trace.span("query", "client"):
            assert trace.identifier() == first
        here = trace.current()
        assert here is not None
        assert dict(trace.headers()) == {"traceparent": here.parent}
        assert here.parent.endswith("-00")
    with trace.span("forecast round"):
        assert trace.identifier() != first
    assert trace.current() is None


def _asked(access_log: bool = False, app: Any = None, **environ: Any) -> tuple[dict[str, str], str]:
    """The answer's headers, and the trace id that the app saw; in a context of its own, as a worker thread has."""
    seen: list[str] = []
    told: dict[str, str] = {}

    def plain(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(trace.identifier())
        start_response("200 OK", [("Content-Length", "3")])
        return [b"abc"]

    def start(status: str, headers: list[tuple[str, str]]) -> None:
        told.update(headers)

    def run() -> None:
        whole = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "REMOTE_ADDR": "127.0.0.1", **environ}
        body = Traced(app or plain, access_log=access_log)(whole, start)
        b"".join(body)
        if close := getattr(body, "close", None):
            close()

    contextvars.Context().run(run)
    return told, seen[0] if seen else ""


def test_a_request_belongs_to_its_callers_trace_and_the_answer_says_so() -> None:
    told, seen = _asked(HTTP_TRACEPARENT=PARENT, HTTP_X_REQUEST_ID="a" * 32)
    assert seen == told["X-Request-Id"] == "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize("given", ["A" * 32, "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"])
def test_a_request_id_of_nginx_or_envoy_is_the_trace_id(given: str) -> None:
    assert _asked(HTTP_TRACEPARENT="broken", HTTP_X_REQUEST_ID=given)[1] == "a" * 32


@pytest.mark.parametrize(
    "given", ["", "1", "0" * 32, "g" * 32, "a" * 33, "a\r\nSet-Cookie: b=c" + "d" * 17, "<b>" * 12]
)
def test_any_other_request_id_is_replaced(given: str) -> None:
    told, seen = _asked(HTTP_X_REQUEST_ID=given)
    assert seen == told["X-Request-Id"]
    assert re.fullmatch("[0-9a-f]{32}", seen)
    assert _asked()[1] != seen


def test_there_is_no_access_log_unless_it_is_asked_for() -> None:
    with captured_logs() as lines:
        _asked()
    assert lines == []


def test_the_access_log_has_a_line_for_each_request_and_no_query() -> None:
    with captured_logs() as lines:
        _asked(True, PATH_INFO="/api", QUERY_STRING="token=s3cret", REQUEST_URI="/api?token=s3cret", **{USER: "me"})
    (line,) = lines
    assert isinstance(line.pop("seconds"), float)
    told = {"method": "GET", "path": "/api", "status": 200, "bytes": 3, "remote": "127.0.0.1", "user": "me"}
    assert line == {"event": "request", "level": "info", **told}


def test_the_access_log_shows_a_secret_path_as_the_app_wants_it_shown() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ[SHOWN_PATH], environ[ROUTE] = "/ack/…", "/ack/<signature>"
        start_response("404 Not Found", [])
        return []

    with captured_logs() as lines:
        _asked(True, app, PATH_INFO="/ack/s3cret")
    assert [(line["path"], line["status"]) for line in lines] == [("/ack/…", 404)]


def test_a_body_that_is_made_while_it_is_sent_belongs_to_the_request_and_is_counted() -> None:
    seen: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        for part in (b"a", b"bc"):
            seen.append(trace.identifier())
            yield part

    with captured_logs() as lines:
        _asked(True, app, HTTP_TRACEPARENT=PARENT)
    assert set(seen) == {PARENT[3:35]}
    assert lines[0]["bytes"] == 3


def test_a_request_that_breaks_is_in_the_access_log_and_breaks_on() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise RuntimeError("a bug")

    with captured_logs() as lines, pytest.raises(RuntimeError, match="a bug"):
        _asked(True, app)
    assert [line["status"] for line in lines] == [500]
