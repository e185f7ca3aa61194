"""How the server takes requests in: what `cheroot` leaves open between a socket and a WSGI app.

- A worker thread gets a connection only once its TLS handshake is done and a request's head is there whole. Until then
  the one accepting thread reads without waiting, so that a client that sends nothing, or a byte a second, costs a
  socket and holds nobody up; it has `timeout` seconds for all of it.
- Headers reach the app as they were sent (environ `HEADERS`): WSGI merges `X_Remote_User` into `X-Remote-User` and
  keeps one of several. Folded lines and spaces before the colon are 400 (RFC 9112, 5.1 and 5.2).
- A response that says `Connection: close` closes, and a chunked body that nobody read is never taken for the next
  request of the connection (RFC 9112, 9.3 and 11.2).
- An app may take a connection over once its response is out (environ `TAKE_OVER`): the way to a WebSocket.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from cheroot import wsgi
from cheroot.connections import ConnectionManager
from cheroot.server import HTTPConnection, HTTPRequest

from cloudpulse.connections import Connections, most_waiting

HEADERS = "cloudpulse.headers"
"""Environ key: every header as (name as sent, value), in order; bytes as latin-1."""

TAKE_OVER = "cloudpulse.take_over"
"""Environ key: takes an `Heir`, who gets the connection after this response, sent or not, instead of the server."""

Heir = Callable[[Any, bytes], None]
"""Gets the socket, or SSLSocket, and what was already read from it; closes it in the end. Called by a worker thread."""

CLIENT_CERTIFICATE = "cloudpulse.client_certificate"
"""Environ key: the verified client certificate (DER bytes), absent without one."""

LARGEST_HEAD = 2**20
"""Bytes of request line and headers; kube-apiserver takes as much."""

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_AT_ONCE = 2**16


class WsgiServer(wsgi.Server):
    """cheroot's server with the manners above."""

    _connections: ConnectionManager
    not_yet: tuple[type[OSError], ...] = (BlockingIOError,)
    """What a socket raises that would have to wait; of TLS two more."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.ConnectionClass = _Connection
        self.gateway = _Gateway
        self.max_request_header_size = LARGEST_HEAD

    def prepare(self) -> None:
        """Bind, and take connections from `serve` on."""
        super().prepare()
        self._connections.close()
        self._connections = Connections(self, most_waiting())

    def process_conn(self, conn: _Connection) -> None:
        """Take in what `conn` has sent; called by the accepting thread when it is new or has something to read."""
        try:
            whole = conn.receive()
        except OSError as error:
            if not isinstance(error, ConnectionError):  # that is how every connection ends
                self.error_log(f"client lost before its request: {error!r}")
            with suppress(OSError):
                conn.close()
            return
        if whole:
            super().process_conn(conn)
        else:
            self._connections.put(conn)  # the way back to waiting


class _Headers:
    """Reads headers as cheroot's own reader does, with the lines kept: of most names it keeps the last alone."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, bytes]] = []

    def __call__(self, rfile: Any, hdict: dict[bytes, bytes]) -> dict[bytes, bytes]:
        while (line := rfile.readline()) != b"\r\n":
            name, colon, value = line.partition(b":")
            if not line.endswith(b"\r\n") or not colon or not _TOKEN.fullmatch(name):
                raise ValueError("Illegal header line: expected NAME: VALUE and CRLF, not folded.")
            value = value.strip(b" \t\r\n")
            if b"\r" in value or b"\0" in value:
                raise ValueError("Illegal header value.")
            self.sent.append((name, value))
            title = name.title()
            if title == b"Content-Length" and hdict.get(title, value) != value:
                raise ValueError("Content-Length is given twice.")
            hdict[title] = b", ".join((hdict[title], value)) if title in hdict and title in _LISTS else value
        if b"Content-Length" in hdict and (b"Transfer-Encoding" in hdict or not hdict[b"Content-Length"].isdigit()):
            raise ValueError("How long the body is can't be told.")
        return hdict


_LISTS = frozenset(
    {
        b"Accept",
        b"Accept-Encoding",
        b"Accept-Language",
        b"Cache-Control",
        b"Connection",
        b"Content-Encoding",
        b"Expect",
        b"If-Match",
        b"If-None-Match",
        b"Te",
        b"Transfer-Encoding",
        b"Vary",
        b"Via",
        b"X-Forwarded-For",
    }
)
"""Headers whose several values are one list (RFC 9110, 5.3); of others WSGI sees the last."""


class _Request(HTTPRequest):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.header_reader = _Headers()

    def read_request_line(self) -> bool:
        try:
            return bool(super().read_request_line())  # type: ignore[no-untyped-call]  # no types in the stubs
        except ValueError:  # urlsplit's for `//[`, which cheroot lets through
            self.simple_response("400 Bad Request", "Malformed Request-URI")
            return False

    def send_headers(self) -> None:
        if self.chunked_read or any(k.lower() == b"connection" and v == b"close" for k, v in self.outheaders):
            self.close_connection = True
        super().send_headers()


class _Gateway(wsgi.Gateway_10):
    def get_environ(self) -> dict[str, Any]:  # type: ignore[override]  # the stubs have no return types
        environ: dict[str, Any] = super().get_environ()  # type: ignore[no-untyped-call]  # the same
        environ[HEADERS] = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in self.req.header_reader.sent]
        environ[TAKE_OVER] = self.req.conn.hand_over
        return environ


class _Connection(HTTPConnection):
    RequestHandlerClass = _Request

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._shaken = self.server.ssl_adapter is None
        self._head = bytearray()
        self._since: float | None = time.monotonic()
        self._heir: Heir | None = None
        self._handed_over = False

    def hand_over(self, heir: Heir) -> None:
        """Let `heir` have the socket once the response to the present request is sent, or could not be."""
        self._heir = heir

    def communicate(self) -> bool:
        """See cheroot's: whether the server keeps the connection."""
        return bool(super().communicate()) and self._heir is None  # type: ignore[no-untyped-call]  # no types in the stubs

    def close(self) -> None:
        """Close the socket, or leave it to the heir."""
        if self._heir is None:
            super().close()
        elif not self._handed_over:
            self._handed_over = True
            self._heir(self.socket, self.rfile.read1(len(self.rfile.peek())) if self.rfile.has_data() else b"")

    def receive(self) -> bool:
        """Whether a request's head is there; reads what has come and never waits.

        Raises OSError when the client is gone, too slow, or speaks no TLS.
        """
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since > self.server.timeout:
            raise TimeoutError("too slow")
        if self.rfile.has_data():  # a pipelined request came with the one before
            self._head += self.rfile.read1(len(self.rfile.peek()))
        self.socket.settimeout(0)
        with suppress(*self.server.not_yet):
            if not self._shaken:
                self.socket.do_handshake()
                self._shaken = True
            self._read()
        if not _whole(self._head):
            return False
        self.socket.settimeout(self.server.timeout)
        # cheroot's reader is Python's own, whose buffer this is; it has no method to put something back.
        self.rfile._read_buf, self.rfile._read_pos = bytes(self._head), 0
        self._head.clear()
        self._since = None
        return True

    def _read(self) -> None:
        while not _whole(self._head):
            got = self.socket.recv(_AT_ONCE)
            if not got:
                raise ConnectionError("closed by the client")
            self._head += got


def _whole(head: bytearray) -> bool:
    """Whether nothing is missing; what is too large or has bare line ends is whole, too, for cheroot to refuse."""
    return b"\n\r\n" in head or b"\n\n" in head or len(head) >= LARGEST_HEAD
