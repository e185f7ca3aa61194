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
from cloudpulse.body import BodyTooLarge
from cloudpulse.environ import FAILURE_HEADERS
from cloudpulse.environ import SHOWN_PATH as SHOWN_PATH
from cloudpulse.limits import PROBED

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WsgiApp = Callable[[Environ, StartResponse], Iterable[bytes]]

USER = "REMOTE_USER"
"""Environ key: who asks, once that is known; set by what asks for credentials."""
ROUTE = "cloudpulse.route"
"""Environ key: the pattern that the path was found by, such as `/api/v1/alerts/<fingerprint>`; set by the app."""

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"))
_REQUEST_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")
_LONGEST = 300

log = logs.get(__name__)


class Traced:
    """Wraps the whole app; the context stays in the trace, so that what the server logs of a failure is found by it.

    `access_log` logs a line for each request.
    """

    def __init__(self, app: WsgiApp, *, access_log: bool = False) -> None:
        self._app = app
        self._access_log = access_log

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        place = _asked(environ) or trace.begun()
        trace.enter(place)
        environ.setdefault(FAILURE_HEADERS, []).append((trace.REQUEST_ID, trace.identifier()))
        if not (self._access_log or trace.recording()):
            return self._app(environ, _labelled(start_response))
        span: contextlib.AbstractContextManager[trace.Span]
        if not trace.recording() or (environ.get("PATH_INFO") in PROBED and not place.sampled):
            trace.enter(place._replace(sampled=place.sampled or False))
            span = contextlib.nullcontext(trace.UNRECORDED)
        else:
            span = trace.span(_method(environ["REQUEST_METHOD"]), "server", **_attributes(environ))
        return self._watched(environ, start_response, span)

    def _watched(
        self, environ: Environ, start_response: StartResponse, span: contextlib.AbstractContextManager[trace.Span]
    ) -> Iterable[bytes]:
        request = _Request(environ, span, access_log=self._access_log)

        def noted(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            request.status = status[:3]
            return start_response(status, headers, *more)

        try:
            body = self._app(environ, _labelled(noted))
        except BaseException as error:
            request.over(error)
            raise
        return _Whole(body, request) if isinstance(body, list | tuple) else _Pieces(body, request)


class _Request:
    """What is told of a request when it is over: a line, and its span."""

    def __init__(
        self, environ: Environ, span: contextlib.AbstractContextManager[trace.Span], *, access_log: bool
    ) -> None:
        self.status = "500"  # what the server makes of an app that says nothing
        self.sent = 0
        self._environ = environ
        self._access_log = access_log
        self._began = time.perf_counter()
        self._context = span
        self._span = span.__enter__()

    def over(self, error: BaseException | None = None) -> None:
        """The answer is out; or `error` broke it, and unless some of it was out already the client hears of that."""
        if error is not None and not self.sent:
            self.status = "413" if isinstance(error, BodyTooLarge) else "500"
        method = self._environ["REQUEST_METHOD"]
        if (route := self._environ.get(ROUTE)) is not None:
            self._span.named(f"{_method(method)} {route}")
            self._span.set("http.route", route)
        self._span.set("url.path", _path(self._environ))
        self._span.set("http.response.status_code", int(self.status))
        if error is not None or self.status >= "500":
            self._span.failed(type(error).__name__ if error is not None else self.status)
        if self._access_log:
            log.info(
                "request",
                method=method,
                path=_path(self._environ),
                status=int(self.status),
                bytes=0 if method == "HEAD" else self.sent,
                seconds=round(time.perf_counter() - self._began, 6),
                remote=self._environ.get("REMOTE_ADDR", ""),
                user=self._environ.get(USER, ""),
            )
        self._context.__exit__(None, None, None)


class _Whole(list[bytes]):
    """A body that was there at once, as a list still, which the server sends in one go with its length."""

    def __init__(self, body: Iterable[bytes], request: _Request) -> None:
        super().__init__(body)
        self._request = request

    def close(self) -> None:
        """See PEP 3333."""
        self._request.sent = sum(map(len, self))
        self._request.over()


class _Pieces:
    """A body that is made while it is sent."""

    def __init__(self, body: Iterable[bytes], request: _Request) -> None:
        self._body = body
        self._request = request
        self._error: Exception | None = None

    def __iter__(self) -> Iterator[bytes]:
        try:
            for part in self._body:
                self._request.sent += len(part)
                yield part
        except Exception as error:
            self._error = error
            raise

    def close(self) -> None:
        """See PEP 3333."""
        try:
            if (close := getattr(self._body, "close", None)) is not None:
                close()
        finally:
            self._request.over(self._error)


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
        return start_response(status, [*headers, (trace.REQUEST_ID, identifier)], *more)

    return labelled


def _attributes(environ: Environ) -> dict[str, str]:
    return {
        "http__request__method": _method(environ["REQUEST_METHOD"]),
        "url__scheme": environ.get("wsgi.url_scheme", "http"),
        "client__address": environ.get("REMOTE_ADDR", ""),
        "user_agent__original": environ.get("HTTP_USER_AGENT", "")[:_LONGEST],
    }


def _method(asked: str) -> str:
    """As the semantic conventions have it: anyone may make up others, and names of spans are to be few."""
    return asked if asked in _METHODS else "_OTHER"


def _path(environ: Environ) -> str:
    shown: str = environ.get(SHOWN_PATH) or environ.get("PATH_INFO", "")
    return shown[:_LONGEST]
