"""One client's connection: requests in, answers out, and never a wait but for room in a piecewise answer.

Headers reach the app as they were sent (environ `HEADERS`); in WSGI's own keys one with `_` in its name is left out,
since WSGI takes it for `-`: `X_Remote_User` would be `X-Remote-User`.
"""

from __future__ import annotations

import io
import selectors
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from cloudpulse import head, limits
from cloudpulse.answer import Answer, BodyTooLarge, Gone
from cloudpulse.body import Body, Chunked, Sized
from cloudpulse.head import Refused
from cloudpulse.limits import LEAST_RATE, Limits

HEADERS = "cloudpulse.headers"
"""Environ key: every header as (name as sent, value), in order; bytes as latin-1."""

TAKE_OVER = "cloudpulse.take_over"
"""Environ key: takes an `Heir`, who gets the connection after this response, sent or not, instead of the server."""

Heir = Callable[[Any, bytes], None]
"""Gets the socket, or SSLSocket, and what was already read from it; closes it in the end. Called by a worker thread."""

CLIENT_CERTIFICATE = "cloudpulse.client_certificate"
"""Environ key: the verified client certificate (DER bytes), absent without one."""

_AT_ONCE = 2**16
"""Bytes read in one go: more than a TLS record, so that nothing read stays hidden from the selector."""
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Setting(Protocol):
    """What a connection needs of its server."""

    app: Callable[..., Iterable[bytes]]
    limits: Limits
    address: tuple[str, int]
    patience: float
    """Seconds."""
    stops_at: float
    """By `time.monotonic`; infinite until a stop has begun."""
    not_yet: tuple[type[OSError], ...]
    """What a socket raises that would have to wait."""


class Connection:
    """One client. Held by one at a time: the accepting thread, the queue of the workers, or one of them."""

    def __init__(self, server: Setting, sock: Any, address: tuple[str, int], tls: Mapping[str, Any] | None) -> None:
        sock.setblocking(False)
        self.server = server
        self.socket = sock
        self.address = address
        self._tls = tls
        self.since = time.monotonic()
        """Of what the client is waited for now."""
        self._shaken = tls is None
        self._seen = 0
        self._raw = bytearray()
        self._looked = 0  # bytes of it that hold no end of a head
        self._head: head.Head | None = None
        self._body: Body = Sized(0)
        self._most = 0  # bytes of the present body
        self._refused: Refused | None = None
        self._out: deque[memoryview] = deque()
        self._sent = 0  # bytes of the present answer
        self._marked = 0  # bytes of body or answer up to `since`
        self._over = False  # nothing more is taken after the present answer
        self._shut = False
        self._heir: Heir | None = None

    @property
    def events(self) -> int:
        """What to wait for."""
        return selectors.EVENT_WRITE if self._out else selectors.EVENT_READ

    @property
    def sending(self) -> bool:
        """Whether some of an answer waits for the client."""
        return bool(self._out)

    @property
    def held(self) -> int:
        """Bytes in memory for this client."""
        return len(self._raw) + len(self._body.content) + sum(map(len, self._out))

    def late(self, now: float) -> bool:
        """Whether the client has had its time for what is waited for.

        A body or an answer has it anew with each part of it that came or went quickly enough.
        """
        patience: float = self.server.patience
        if self._out or self._head is not None:
            moved = self._sent + len(self._body.content)
            if moved - self._marked >= LEAST_RATE * patience:
                self._marked, self.since = moved, now
        elif self._over:
            patience = limits.LINGER_SECONDS
        elif self._seen and not self._raw:
            patience = limits.IDLE_SECONDS
        return now - self.since > patience

    def give_up(self) -> bool:
        """Whether the client, being late, is still to be told so (408), by a worker."""
        if self._head is None or self._out or self._over:
            return False
        self._refused = Refused("408 Request Timeout", "the body took too long")
        return True

    def go_on(self) -> bool:
        """Send what can be sent and read what has come: whether a request is whole. Never waits.

        Raises OSError when the connection is over.
        """
        with suppress(*self.server.not_yet):
            if self._out:
                self._flush()
                self.since = time.monotonic()
            if self._over:
                self._linger()
            if not self._shaken:
                self.socket.do_handshake()
                self._shaken = True
            while not self._whole():
                got = self.socket.recv(_AT_ONCE)
                if not got:
                    raise ConnectionError("closed by the client")
                if not self._raw and self._head is None and self._seen:
                    self.since = time.monotonic()  # idle until now
                self._raw += got
            return True
        return False

    def _whole(self) -> bool:
        try:
            if self._head is None and not self._read_head():
                return False
            self._body.take(self._raw)
        except Refused as refused:
            self._refused = refused
            return True
        return self._body.whole or self._too_large

    @property
    def _too_large(self) -> bool:
        said = self._head.length if self._head is not None else None
        return max(said or 0, len(self._body.content)) > self._most

    def _read_head(self) -> bool:
        if self._raw.startswith(b"\r\n") and not self._looked:  # RFC 9112, 2.2
            del self._raw[:2]
        most = self.server.limits.head
        end = self._raw.find(b"\r\n\r\n", max(0, self._looked - 3), most)
        self._looked = len(self._raw)
        if end < 0:
            if b"\n" not in self._raw[:most] and len(self._raw) >= most:
                raise Refused("414 URI Too Long", f"the request line is longer than {most} bytes")
            if len(self._raw) >= most:
                raise Refused("431 Request Header Fields Too Large", f"the headers are longer than {most} bytes")
            if b"\n\n" in self._raw or b"\n\r\n" in self._raw:
                raise Refused("400 Bad Request", "expected CRLF at the end of each line")
            return False
        found = head.parse(bytes(self._raw[: end + 4]), self.server.limits.headers)
        del self._raw[: end + 4]
        self._looked = 0
        self._head, self._most = found, self.server.limits.body()
        if found.length is None:
            self._body = Chunked()
        else:
            self._body = Sized(found.length if found.length <= self._most else 0)
        if found.expects and not self._raw and not self._too_large:
            with suppress(*self.server.not_yet):
                self.socket.send(_CONTINUE)
        return True

    def communicate(self) -> bool:
        """Answer the request, in a worker thread; whether the connection goes on."""
        request, refused = self._head, self._refused
        self._seen += 1
        self._sent = self._marked = 0
        self.since = time.monotonic()
        unread = refused is not None or self._too_large
        keep = request is not None and not request.close and self._seen < limits.MOST_REQUESTS
        answer = Answer(self._send, request, keep=keep and not unread and self._lasting)
        if refused is not None or request is None:
            answer.refuse(*((refused.status, str(refused)) if refused else ("400 Bad Request", "no request")))
        else:
            answer.give(self.server.app, self._environ(request))
        self._head, self._refused, self._body = None, None, Sized(0)
        self._marked = self._sent
        if self._out and (self._heir is not None or not self._lasting):
            with suppress(Gone):
                self._wait(room=0)
        self.since = time.monotonic()
        self._over = not answer.keep
        self._shut = not unread  # then there is nothing to linger for
        return self._heir is None and bool(answer.keep or self._out or unread)

    def hand_over(self, heir: Heir) -> None:
        """Let `heir` have the socket once the response to the present request is sent, or could not be."""
        self._heir = heir

    def close(self) -> None:
        """Close the socket, or leave it to the heir."""
        if self._heir is not None:
            heir, self._heir = self._heir, None
            heir(self.socket, bytes(self._raw))
            self.socket = None
        elif self.socket is not None:
            with suppress(OSError):
                self.socket.close()

    def cut(self) -> None:
        """See `workers.Job`."""
        if self.socket is not None:
            self.socket.shutdown(socket.SHUT_RDWR)

    def _send(self, data: bytes, *, more: bool = False) -> None:
        if data:
            self._out.append(memoryview(data))
        try:
            with suppress(*self.server.not_yet):
                self._flush()
        except OSError as error:
            self._out.clear()
            raise Gone(str(error)) from error
        if more and sum(map(len, self._out)) > limits.ROOM:
            self._wait(limits.ROOM)

    def _flush(self) -> None:
        while self._out:
            sent = self.socket.send(self._out[0])
            self._sent += sent
            if sent == len(self._out[0]):
                self._out.popleft()
            else:
                self._out[0] = self._out[0][sent:]

    def _wait(self, room: int) -> None:
        """Until no more than `room` bytes wait for the client; raises Gone when it is too slow."""
        ready = selectors.DefaultSelector()
        ready.register(self.socket, selectors.EVENT_WRITE)
        began, marked = time.monotonic(), self._sent
        try:
            while sum(map(len, self._out)) > room:
                if self._sent - marked >= LEAST_RATE * self.server.patience:
                    began, marked = time.monotonic(), self._sent
                until = min(began + self.server.patience, self.server.stops_at)
                if not ready.select(max(0.0, until - time.monotonic())):
                    raise TimeoutError("took too little of the answer")
                with suppress(*self.server.not_yet):
                    self._flush()
        except OSError as error:
            self._out.clear()
            raise Gone(str(error)) from error
        finally:
            ready.close()

    def _linger(self) -> None:
        """Let the client read the answer to a request of which not all was read: closing at once could undo it."""
        if self._shut and not self._raw:
            raise ConnectionError("answered")
        self._raw.clear()
        if not self._shut:
            self._shut = True
            self.socket.shutdown(socket.SHUT_WR)
        while self.socket.recv(_AT_ONCE):
            if time.monotonic() - self.since > limits.LINGER_SECONDS:
                break
        raise ConnectionError("answered")

    @property
    def _lasting(self) -> bool:
        return self.server.stops_at == float("inf")

    def _environ(self, request: head.Head) -> dict[str, Any]:
        environ: dict[str, Any] = {
            "REQUEST_METHOD": request.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": request.path,
            "QUERY_STRING": request.query,
            "REQUEST_URI": request.target,
            "SERVER_NAME": self.server.address[0],
            "SERVER_PORT": str(self.server.address[1]),
            "SERVER_PROTOCOL": "HTTP/1.0" if request.version == (1, 0) else "HTTP/1.1",
            "REMOTE_ADDR": self.address[0],
            "REMOTE_PORT": str(self.address[1]),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": _Unread() if self._too_large else io.BytesIO(self._body.content),
            "wsgi.input_terminated": True,
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            HEADERS: request.headers,
            TAKE_OVER: self.hand_over,
        }
        for name, value in request.headers:
            if "_" not in name:
                key = "HTTP_" + name.upper().replace("-", "_")
                environ[key] = f"{environ[key]}, {value}" if key in _LISTS and key in environ else value
        environ["HTTP_HOST"] = request.host
        environ.pop("HTTP_TRANSFER_ENCODING", None)  # it is undone here (RFC 9112, 7.1.3)
        if (kind := environ.pop("HTTP_CONTENT_TYPE", None)) is not None:
            environ["CONTENT_TYPE"] = kind
        length = environ.pop("HTTP_CONTENT_LENGTH", None)
        if length is not None or request.length is None:
            environ["CONTENT_LENGTH"] = length if length is not None else str(len(self._body.content))
        if self._tls is not None:
            environ.update(self._tls)
        return environ


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


class _Unread(io.RawIOBase):
    """The body that is larger than the server takes."""

    def readable(self) -> bool:
        return True

    def readinto(self, _: Any) -> int:
        raise BodyTooLarge("the body is too large")
