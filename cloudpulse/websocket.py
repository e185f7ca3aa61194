"""The handshake of a WebSocket (RFC 6455, 4.2) as a WSGI app on our server; `streaming.py` goes on from there."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from http import HTTPStatus
from urllib.parse import parse_qsl

from websockets.datastructures import Headers
from websockets.frames import CloseCode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from cloudpulse import origins
from cloudpulse.connection import TAKE_OVER
from cloudpulse.environ import HEADERS
from cloudpulse.errors import CloudPulseError
from cloudpulse.serving import Environ, StartResponse
from cloudpulse.streaming import Feed, StreamEnded, Streams

SUBPROTOCOL = Subprotocol("cloudpulse.v1")
"""What a client may ask for, and has to where it sends a key as another one, which is never told back."""


class Refused(CloudPulseError):
    """No stream for this request: the status and headers of the answer, and why."""

    def __init__(self, status: HTTPStatus, reason: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(reason)
        self.status = status
        self.headers = tuple(headers)


class WebSocket:
    """The WSGI app: 101 and a stream of what `open_feed` makes of the request, or why not.

    `identify` and `open_feed` raise Refused; `Streams.review` has everyone identified again. A browser sends cookies
    and passwords with a request that any page makes; so one with an `Origin` is refused unless that is this server's
    own or one of `other_origins` (`https://host[:port]`).
    """

    def __init__(
        self,
        streams: Streams,
        open_feed: Callable[[Environ], Feed],
        identify: Callable[[Environ], object],
        other_origins: Collection[str] = (),
    ) -> None:
        self._streams = streams
        self._open_feed = open_feed
        self._identify = identify
        self._origins = frozenset(origin.rstrip("/").lower() for origin in other_origins)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        headers = _headers(environ)
        protocol = ServerProtocol(select_subprotocol=_select)
        request = Request(environ["REQUEST_URI"], headers, environ["REQUEST_METHOD"], environ["SERVER_PROTOCOL"])
        response = protocol.accept(request)
        if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            try:
                self._check(environ, headers)
                self._identify(environ)
                feed = self._open_feed(environ)
                still = functools.partial(self._still, _sent(environ))
                if not self._streams.admit():
                    raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "too many streams are open", [("Retry-After", "10")])
            except Refused as refused:
                response = protocol.reject(refused.status, f"{refused}\n")
                for name, value in refused.headers:
                    response.headers[name] = value
            else:
                environ[TAKE_OVER](lambda connection, said: self._streams.adopt(connection, said, feed, still))
        start_response(f"{response.status_code} {response.reason_phrase}", list(response.headers.raw_items()))
        return [bytes(response.body)] if response.body else []

    def _still(self, environ: Environ) -> None:
        """Raise StreamEnded when the client would not be let in any more."""
        try:
            self._identify(environ)
        except Refused as refused:
            raise StreamEnded(str(refused), CloseCode.POLICY_VIOLATION) from refused

    def _check(self, environ: Environ, headers: Headers) -> None:
        if environ.get("CONTENT_LENGTH", "0") not in ("", "0") or "Transfer-Encoding" in headers:
            raise Refused(HTTPStatus.BAD_REQUEST, "a request for a stream has no body")
        for origin in headers.get_all("Origin"):
            if origin.lower() not in self._origins and not origins.same(origin, environ.get("HTTP_HOST", "")):
                raise Refused(HTTPStatus.FORBIDDEN, "pages of another origin may not read this stream")


def given(query: str, names: Sequence[str]) -> dict[str, str]:
    """The parameters in the query of a request for a stream. Raises ValueError for others than `names`."""
    pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=10)
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("expected each parameter once")
    if unknown := found.keys() - set(names):
        raise ValueError(f"unknown parameter {min(unknown)[:50]!r}, expected {', '.join(names[:-1])} or {names[-1]}")
    return found


def some_of(parameters: Mapping[str, str], name: str, possible: Collection[str]) -> frozenset[str]:
    """What a parameter, `a,b`, has of what is possible; all where it isn't given. Raises ValueError for others."""
    chosen = frozenset(parameters[name].split(",")) if name in parameters else frozenset(possible)
    if unknown := chosen.difference(possible):
        raise ValueError(f"{name}: expected some of {', '.join(possible)}, got {min(unknown)[:50]!r}")
    return chosen


def _sent(environ: Environ) -> Environ:
    """What a client said of itself, without the connection that it came with."""
    return {name: value for name, value in environ.items() if isinstance(value, str | bytes)}


def _select(_: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    return SUBPROTOCOL if SUBPROTOCOL in offered else None


def _headers(environ: Environ) -> Headers:
    headers = Headers()
    for name, value in environ[HEADERS]:
        headers[name] = value  # adds, also one of the same name
    return headers
