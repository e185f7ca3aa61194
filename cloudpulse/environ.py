"""The WSGI environ of a request.

Headers reach the app as they were sent (`HEADERS`); in WSGI's own keys one with `_` in its name is left out, since WSGI
takes it for `-`: `X_Remote_User` would be `X-Remote-User`.
"""

from __future__ import annotations

import io
import sys
from typing import Any

from cloudpulse.body import BodyTooLarge
from cloudpulse.head import Head

HEADERS = "cloudpulse.headers"
"""Environ key: every header as (name as sent, value), in order; bytes as latin-1."""

CLIENT_CERTIFICATE = "cloudpulse.client_certificate"
"""Environ key: the verified client certificate (DER bytes), absent without one."""

FAILURE_HEADERS = "cloudpulse.failure_headers"
"""Environ key: a list of headers that stand in the server's answer when the app fails; middleware adds to it."""

SHOWN_PATH = "cloudpulse.shown_path"
"""Environ key: what stands for the path in logs and spans, where that holds a secret; set by the app."""

_LISTS = frozenset(
    (
        "HTTP_ACCEPT",
        "HTTP_ACCEPT_ENCODING",
        "HTTP_ACCEPT_LANGUAGE",
        "HTTP_CACHE_CONTROL",
        "HTTP_CONNECTION",
        "HTTP_CONTENT_ENCODING",
        "HTTP_IF_MATCH",
        "HTTP_IF_NONE_MATCH",
        "HTTP_TE",
        "HTTP_TRACEPARENT",  # two are none, which their list shows
        "HTTP_TRACESTATE",
        "HTTP_UPGRADE",
        "HTTP_VARY",
        "HTTP_VIA",
        "HTTP_X_FORWARDED_FOR",
    )
)
"""Headers whose several values are one list (RFC 9110, 5.3); of others WSGI sees the last."""


def environ(
    request: Head, body: bytearray, server: tuple[str, int], client: tuple[str, int], *, too_large: bool
) -> dict[str, Any]:
    """For a request with its whole body; one that is too large for the server can't be read, its length can."""
    made: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": request.path,
        "QUERY_STRING": request.query,
        "REQUEST_URI": request.target,
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
        "SERVER_PROTOCOL": "HTTP/1.0" if request.version == (1, 0) else "HTTP/1.1",
        "REMOTE_ADDR": client[0],
        "REMOTE_PORT": str(client[1]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": _Unread() if too_large else io.BytesIO(body),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        HEADERS: request.headers,
    }
    for name, value in request.headers:
        if "_" not in name:
            key = "HTTP_" + name.upper().replace("-", "_")
            made[key] = f"{made[key]}, {value}" if key in _LISTS and key in made else value
    made["HTTP_HOST"] = request.host
    made.pop("HTTP_TRANSFER_ENCODING", None)  # it is undone here (RFC 9112, 7.1.3)
    if (kind := made.pop("HTTP_CONTENT_TYPE", None)) is not None:
        made["CONTENT_TYPE"] = kind
    length = made.pop("HTTP_CONTENT_LENGTH", None)
    if length is not None or request.length is None:
        made["CONTENT_LENGTH"] = length if length is not None else str(len(body))
    return made


class _Unread(io.RawIOBase):
    """The body that is larger than the server takes."""

    def readable(self) -> bool:
        return True

    def readinto(self, _: Any) -> int:
        raise BodyTooLarge("the body is too large")
