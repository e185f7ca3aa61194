"""The stream's HTTP face: `/api/v1/stream` as a WebSocket, and `/stream`, a page that shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qsl

from alert_bridge.events import KINDS
from alert_bridge.stream import Stream, Wish
from cloudpulse.serving import GUARDS, Environ, StartResponse, WsgiApp
from cloudpulse.streaming import Feed
from cloudpulse.websocket import Refused

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
            return _refuse(f"{path} takes GET\n", start_response)
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
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=10)
        given = dict(pairs)
        if len(given) < len(pairs):
            raise ValueError("expected each parameter once")
        if unknown := given.keys() - {"after", "last", "kinds", "receiver"}:
            raise ValueError(f"unknown parameter {min(unknown)!r}, expected after, last, kinds or receiver")
        if "after" in given and "last" in given:
            raise ValueError("after and last can't both be given")
        return Wish(_number(given, "after", 2**63 - 2), _number(given, "last", MOST_BACK), _kinds(given), _names(given))
    except ValueError as error:
        raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from error


def _number(given: Mapping[str, str], name: str, most: int) -> int | None:
    text = given.get(name)
    if text is None:
        return None
    if len(text) > 19 or not text.isascii() or not text.isdecimal() or int(text) > most:
        raise ValueError(f"{name}: expected a whole number from 0 to {most}, got {text[:50]!r}")
    return int(text)


def _kinds(given: Mapping[str, str]) -> frozenset[str]:
    asked = frozenset(given["kinds"].split(",")) if "kinds" in given else frozenset(KINDS)
    if unknown := asked.difference(KINDS):
        raise ValueError(f"kinds: expected some of {', '.join(KINDS)}, got {min(unknown)[:50]!r}")
    return asked


def _names(given: Mapping[str, str]) -> frozenset[str]:
    return frozenset(given["receiver"].split(",")) if "receiver" in given else frozenset()


def _refuse(text: str, start_response: StartResponse) -> list[bytes]:
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(text))),
        ("Allow", "GET, HEAD"),
    ]
    # Closed: nobody waits for a body that nobody reads.
    start_response("405 Method Not Allowed", [*headers, *GUARDS, ("Connection", "close")])
    return [text.encode()]


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
