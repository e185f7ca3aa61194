"""The stream's HTTP face: `/api/v1/stream` as a WebSocket."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from http import HTTPStatus
from urllib.parse import parse_qsl

from cloudpulse.serving import GUARDS, Environ, StartResponse, WsgiApp
from cloudpulse.streaming import Feed
from cloudpulse.websocket import Refused
from forecaster.stream import KINDS, Stream, Wish

PATH = "/api/v1/stream"


class Live:
    """The WSGI app: the stream, and everything else from `otherwise`."""

    def __init__(self, socket: WsgiApp, otherwise: WsgiApp) -> None:
        self._socket = socket
        self._otherwise = otherwise

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("PATH_INFO") != PATH:
            return self._otherwise(environ, start_response)
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return self._socket(environ, start_response)
        body = f"{PATH} takes GET\n".encode()
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
        # Closed: nobody waits for a body that nobody reads.
        start_response("405 Method Not Allowed", [*headers, ("Allow", "GET, HEAD"), *GUARDS, ("Connection", "close")])
        return [body]


def opener(stream: Stream, forecasts: Callable[[], Collection[str]]) -> Callable[[Environ], Feed]:
    """Makes the feed that a request asks for; raises Refused for parameters that can't be understood.

    `forecasts` are those that there are.
    """

    def open_feed(environ: Environ) -> Feed:
        return stream.feed(wish(environ.get("QUERY_STRING", ""), forecasts()))

    return open_feed


def wish(query: str, forecasts: Collection[str]) -> Wish:
    """`kinds=forecast,anomaly&forecast=a,b`; raises Refused."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=10)
        given = dict(pairs)
        if len(given) < len(pairs):
            raise ValueError("expected each parameter once")
        if unknown := given.keys() - {"kinds", "forecast"}:
            raise ValueError(f"unknown parameter {min(unknown)[:50]!r}, expected kinds or forecast")
        kinds = frozenset(given["kinds"].split(",")) if "kinds" in given else frozenset(KINDS)
        if strange := kinds.difference(KINDS):
            raise ValueError(f"kinds: expected some of {', '.join(KINDS)}, got {min(strange)[:50]!r}")
        names = frozenset(given["forecast"].split(",")) if "forecast" in given else frozenset()
        if strange := names.difference(forecasts):
            raise ValueError(f"forecast: none is named {min(strange)[:50]!r}, expected some of {_listed(forecasts)}")
        return Wish(kinds, names)
    except ValueError as error:
        raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from error


def _listed(names: Collection[str]) -> str:
    first = sorted(names)[:10]
    return ", ".join(first) + (", …" if len(names) > len(first) else "")
