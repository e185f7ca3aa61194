"""The outermost WSGI wrapper: gives each request its place in a trace, and the access log and server spans if wanted.

The trace is that of `traceparent`; else `X-Request-Id` is its id, where that is 32 hex digits (nginx) or a UUID (Envoy
and others); else it is new. The response says which, as `X-Request-Id`.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from cloudpulse import logs, trace
from cloudpulse.environ import FAILURE_HEADERS
from cloudpulse.environ import SHOWN_PATH as SHOWN_PATH
from cloudpulse.limits import PROBED

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WsgiApp = Callable[[Environ, StartResponse], Iterable[bytes]]

HEADER = "X-Request-Id"

USER = "REMOTE_USER"
"""Environ key: who asks, once that is known; set by what asks for credentials."""
ROUTE = "cloudpulse.route"
"""Environ key: the pattern that the path was found by, such as `/api/v1/alerts/<fingerprint>`; set by the app."""

_REQUEST_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")
_LONGEST = 300

log = logs.get(__name__)


class Traced:
    """Wraps the whole app; the worker thread stays in the trace until its next request begins.

    So does what the server itself logs of the connection afterwards. `access_log` logs a line for each request.
    """

    def __init__(self, app: WsgiApp, *, access_log: bool = False) -> None:
        self._app = app
        self._access_log = access_log

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        place = _asked(environ) or trace.begun()
        trace.enter(place)
        environ.setdefault(FAILURE_HEADERS, []).append((HEADER, trace.identifier()))
        if not (self._access_log or trace.recording()):
            return self._app(environ, _labelled(start_response))
        span: contextlib.AbstractContextManager[trace.Span]
        if not trace.recording() or (environ.get("PATH_INFO") in PROBED and not place.sampled):
            trace.enter(place._replace(sampled=place.sampled or False))
            span = contextlib.nullcontext(trace.UNRECORDED)
        else:
            span = trace.span(environ["REQUEST_METHOD"], "server", **_attributes(environ))
        return self._watched(environ, start_response, span)

    def _watched(
        self, environ: Environ, start_response: StartResponse, span: contextlib.AbstractContextManager[trace.Span]
    ) -> Iterable[bytes]:
        began = time.perf_counter()
        told: list[str] = []

        def noted(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            told[:] = [status[:3]]
            return _labelled(start_response)(status, headers, *more)

        open_span = span.__enter__()
        try:
            body = self._app(environ, noted)
        except BaseException as error:
            self._over(environ, open_span, "500", 0, began)
            span.__exit__(type(error), error, error.__traceback__)
            raise

        def over(sent: int) -> None:
            self._over(environ, open_span, told[0] if told else "500", sent, began)
            span.__exit__(None, None, None)

        return _Body(body, over)

    def _over(self, environ: Environ, span: trace.Span, status: str, sent: int, began: float) -> None:
        route = environ.get(ROUTE)
        if route is not None:
            span.named(f"{environ['REQUEST_METHOD']} {route}")
            span.set("http.route", route)
        span.set("url.path", _path(environ))
        span.set("http.response.status_code", int(status))
        if status >= "500":
            span.failed(status)
        if self._access_log:
            log.info(
                "request",
                method=environ["REQUEST_METHOD"][:_LONGEST],
                path=_path(environ),
                status=int(status),
                bytes=sent,
                seconds=round(time.perf_counter() - began, 6),
                remote=environ.get("REMOTE_ADDR", ""),
                user=environ.get(USER, ""),
            )


class _Body:
    """The app's body, counted as it goes out; the request is over when it is closed."""

    def __init__(self, body: Iterable[bytes], over: Callable[[int], None]) -> None:
        self._body = body
        self._over = over
        self._sent = 0

    def __iter__(self) -> Iterator[bytes]:
        for part in self._body:
            self._sent += len(part)
            yield part

    def close(self) -> None:
        try:
            if (close := getattr(self._body, "close", None)) is not None:
                close()
        finally:
            self._over(self._sent)


def _asked(environ: Environ) -> trace.Trace | None:
    """The trace that the request says it is part of."""
    if (header := environ.get("HTTP_TRACEPARENT")) and (found := trace.parsed(header, environ.get("HTTP_TRACESTATE"))):
        return found
    if asked := environ.get("HTTP_X_REQUEST_ID"):
        identifier = asked.replace("-", "").lower() if len(asked) in (32, 36) else ""
        if _REQUEST_ID.fullmatch(identifier):
            return trace.begun()._replace(trace_id=identifier)
    return None


def _labelled(start_response: StartResponse) -> StartResponse:
    identifier = trace.identifier()

    def labelled(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
        return start_response(status, [*headers, (HEADER, identifier)], *more)

    return labelled


def _attributes(environ: Environ) -> dict[str, str]:
    return {
        "http__request__method": environ["REQUEST_METHOD"][:_LONGEST],
        "url__scheme": environ.get("wsgi.url_scheme", "http"),
        "client__address": environ.get("REMOTE_ADDR", ""),
        "user_agent__original": environ.get("HTTP_USER_AGENT", "")[:_LONGEST],
    }


def _path(environ: Environ) -> str:
    shown: str = environ.get(SHOWN_PATH) or environ.get("PATH_INFO", "")
    return shown[:_LONGEST]
