"""The stream's HTTP face: `/api/v1/stream` as a WebSocket, and `/stream`, a page that shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from pathlib import Path

from alert_bridge.events import KINDS
from alert_bridge.stream import Stream, Wish
from cloudpulse.serving import Environ, StartResponse, WsgiApp, takes_get
from cloudpulse.streaming import Feed
from cloudpulse.websocket import Refused, given, some_of

PATH = "/api/v1/stream"
MOST_BACK = 1000
"""Events that `last` may ask for."""

_FOLDER = Path(__file__).parent / "pages"
PAGES = {
    "/stream": ("stream.html", "text/html"),
    "/stream.js": ("stream.js", "text/javascript"),
    "/stream.css": ("stream.css", "text/css"),
}
_POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'"


class Live:
    """The WSGI app: the stream, its page, and everything else from `otherwise`."""

    def __init__(self, socket: WsgiApp, otherwise: WsgiApp) -> None:
        self._socket = socket
        self._otherwise = otherwise

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        if path != PATH and path not in PAGES:
            return self._otherwise(environ, start_response)
        method = environ["REQUEST_METHOD"]
        if method not in ("GET", "HEAD"):
            return takes_get(path, start_response)
        if path == PATH:
            return self._socket(environ, start_response)
        return _page(method, *PAGES[path], start_response)


def opener(stream: Stream) -> Callable[[Environ], Feed]:
    """Makes the feed that a request asks for; raises Refused for parameters that can't be understood."""

    def open_feed(environ: Environ) -> Feed:
        return stream.feed(wish(environ.get("QUERY_STRING", "")))

    return open_feed


def wish(query: str) -> Wish:
    """`after=ID` or `last=COUNT`, `kinds=alerts,dead`, `receiver=a,b`; raises Refused."""
    try:
        asked = given(query, ("after", "last", "kinds", "receiver"))
        if "after" in asked and "last" in asked:
            raise ValueError("after and last can't both be given")
        kinds = some_of(asked, "kinds", KINDS)
        receivers = frozenset(asked["receiver"].split(",")) if "receiver" in asked else frozenset()
        return Wish(_number(asked, "after", 2**63 - 2), _number(asked, "last", MOST_BACK), kinds, receivers)
    except ValueError as error:
        raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from error


def _number(asked: Mapping[str, str], name: str, most: int) -> int | None:
    text = asked.get(name)
    if text is None:
        return None
    if len(text) > 19 or not text.isascii() or not text.isdecimal() or int(text) > most:
        raise ValueError(f"{name}: expected a whole number from 0 to {most}, got {text[:50]!r}")
    return int(text)


def _page(method: str, file: str, kind: str, start_response: StartResponse) -> list[bytes]:
    body = (_FOLDER / file).read_bytes()
    headers = [
        ("Content-Type", f"{kind}; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Content-Security-Policy", _POLICY),
        ("Referrer-Policy", "no-referrer"),
        ("X-Content-Type-Options", "nosniff"),
        ("Cache-Control", "no-cache"),
    ]
    start_response("200 OK", headers)
    return [] if method == "HEAD" else [body]
