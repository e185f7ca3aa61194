"""One client's connection: requests in, answers out, and never a wait but for room in a piecewise answer."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from cloudpulse import head, limits, outlet
from cloudpulse.answer import Answer, Gone
from cloudpulse.body import Body, Chunked, Sized
from cloudpulse.environ import environ
from cloudpulse.head import Refused
from cloudpulse.limits import LEAST_RATE, Limits
from cloudpulse.outlet import Outlet

if TYPE_CHECKING:  # a server without TLS doesn't load it
    from cloudpulse.tls import Secured

TAKE_OVER = "cloudpulse.take_over"
"""Environ key: takes an `Heir`, who gets the connection after this response, sent or not, instead of the server."""

Heir = Callable[[Any, bytes], None]
"""Gets the socket, or SSLSocket, and what was already read from it; closes it in the end. Called by a worker thread."""

_AT_ONCE = 2**16
"""Bytes read in one go: more than a TLS record, so that nothing read stays hidden from the selector."""
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Setting(outlet.Setting, Protocol):
    """What a connection needs of its server."""

    app: Callable[..., Iterable[bytes]]
    limits: Limits
    address: tuple[str, int]


class Connection:
    """One client. Held by one at a time: the accepting thread, the queue of the workers, or one of them."""

    def __init__(self, server: Setting, sock: Any, address: tuple[str, int], tls: Secured | None) -> None:
        sock.setblocking(False)
        self.server = server
        self.socket = sock
        self.address = address
        self._tls = tls
        self.since = time.monotonic()
        """Of what the client is waited for now."""
        self._shaken = tls is None
        self._seen = False  # whether it had an answer
        self._raw = bytearray()
        self._looked = 0  # bytes of it that hold no end of a head
        self._head: head.Head | None = None
        self._body: Body = Sized(0)
        self._most = 0  # bytes of the present body
        self._refused: Refused | None = None
        self._out = Outlet(server, sock)
        self._marked = 0  # bytes of body or answer up to `since`
        self._over = False  # nothing more is taken after the present answer
        self._shut = False  # so the client was told that it is over
        self._heir: Heir | None = None

    @property
    def events(self) -> int:
        """What to wait for."""
        writes = self._out or (self._tls is not None and self._tls.writes)
        return selectors.EVENT_WRITE if writes else selectors.EVENT_READ

    @property
    def sending(self) -> bool:
        """Whether some of an answer waits for the client."""
        return bool(self._out)

    @property
    def path(self) -> str:
        """Of the present request."""
        return self._head.path if self._head is not None else ""

    @property
    def held(self) -> int:
        """Bytes in memory for this client."""
        return len(self._raw) + len(self._body.content) + self._out.held

    def late(self, now: float) -> bool:
        """Whether the client has had its time for what is waited for.

        A body or an answer has it anew with each part of it that came or went quickly enough.
        """
        patience: float = self.server.patience
        if self._out or self._head is not None:
            moved = self._out.sent + len(self._body.content)
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
        """Send what can be sent and read some of what has come: whether a request is whole. Never waits.

        One piece at a time, so that a client who sends without end leaves others their turn. Raises OSError when the
        connection is over.
        """
        with suppress(*self.server.not_yet):
            if self._out:
                self._out.flush()
                self.since = time.monotonic()
            if self._over:
                self._linger()
            elif self._shakes():
                return self._whole() or (self._read() and self._whole())
        return False

    def _shakes(self) -> bool:
        """Whether the TLS handshake is done; goes on with it if not."""
        if not self._shaken:
            assert self._tls is not None
            self._tls.shake()
            self._shaken = True
        return True

    def _read(self) -> bool:
        got = self.socket.recv(_AT_ONCE)
        if not got:
            raise ConnectionError("closed by the client")
        if not self._raw and self._head is None and self._seen:
            self.since = time.monotonic()  # idle until now
        self._raw += got
        return True

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
        if self._raw.startswith(b"\r\n") and self._looked < 2:  # RFC 9112, 2.2
            del self._raw[:2]
        if not self._looked and not head.may_begin(self._raw):
            raise Refused("400 Bad Request", "expected HTTP")
        most, place = self.server.limits.head, max(0, self._looked - 3)
        end = self._raw.find(b"\r\n\r\n", place, most)
        self._looked = len(self._raw)
        if end < 0:
            if len(self._raw) >= most:
                raise _too_long(most, in_line=b"\n" not in self._raw[:most])
            if self._raw.find(b"\n\n", place) >= 0 or self._raw.find(b"\n\r\n", place) >= 0:
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
        if found.expects and not self._raw and found.length != 0 and not self._too_large:
            with suppress(Gone):  # reading will tell
                self._out.send(_CONTINUE)
        return True

    def communicate(self) -> bool:
        """Answer the request, in a worker thread; whether the connection goes on with the server."""
        request, refused = self._head, self._refused
        self._seen = True
        self._out.sent = self._marked = 0
        self.since = time.monotonic()
        unread = refused is not None or self._too_large
        keep = request is not None and not request.close
        answer = Answer(self._out.send, request, keep=keep and not unread and self._lasting)
        if refused is not None or request is None:
            answer.refuse(*((refused.status, str(refused)) if refused else ("400 Bad Request", "no request")))
        else:
            answer.give(self.server.app, self._take_request(request))
        self._head, self._refused, self._body = None, None, Sized(0)
        self._marked = self._out.sent
        if self._out and (self._heir is not None or not self._lasting):
            with suppress(Gone):
                self._out.wait(room=0)
        self.since = time.monotonic()
        self._over = not answer.keep
        return self._heir is None

    def _take_request(self, request: head.Head) -> dict[str, Any]:
        """Its environ, which alone has the body from then on."""
        body, too_large = self._body.content, self._too_large
        made = environ(request, body, self.server.address, self.address, too_large=too_large)
        made[TAKE_OVER] = self.hand_over
        if self._tls is not None:
            made.update(self._tls.environ())
        self._body = Sized(0)
        return made

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
            self._say_end()
            with suppress(OSError):
                self.socket.close()

    def cut(self) -> None:
        """See `workers.Job`."""
        if (taken := self.socket) is not None:
            # Not SSLSocket's, which would take the TLS away under the thread that uses it.
            socket.socket.shutdown(taken, socket.SHUT_RDWR)

    def _say_end(self) -> None:
        if self._tls is not None and self._shaken:
            self._tls.end()

    def _linger(self) -> None:
        """Let the client read the last answer: closing with something unread would undo it (RFC 9112, 9.6)."""
        if not self._shut:
            self._shut = True
            self._raw.clear()
            self._say_end()
            self.socket.shutdown(socket.SHUT_WR)
        if not self.socket.recv(_AT_ONCE):
            raise ConnectionError("answered")

    @property
    def _lasting(self) -> bool:
        return self.server.stops_at == float("inf")


def _too_long(most: int, *, in_line: bool) -> Refused:
    if in_line:
        return Refused("414 URI Too Long", f"the request line is longer than {most} bytes")
    return Refused("431 Request Header Fields Too Large", f"the headers are longer than {most} bytes")
