"""The stream's HTTP face: `/api/v1/stream` as a WebSocket."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from http import HTTPStatus

from cloudpulse.serving import Environ, StartResponse, WsgiApp, takes_get
from cloudpulse.streaming import Feed
from cloudpulse.websocket import Refused, given, some_of
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
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return takes_get(PATH, start_response)
        return self._socket(environ, start_response)


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
        asked = given(query, ("kinds", "forecast"))
        names = frozenset(asked["forecast"].split(",")) if "forecast" in asked else frozenset()
        if strange := names.difference(forecasts):
            raise ValueError(f"forecast: none is named {min(strange)[:50]!r}, expected some of {_listed(forecasts)}")
        return Wish(some_of(asked, "kinds", KINDS), names)
    except ValueError as error:
        raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from error


def _listed(names: Collection[str]) -> str:
    first = sorted(names)[:10]
    return ", ".join(first) + (", …" if len(names) > len(first) else "")
