"""The server of a WSGI app: HTTP/1.1 (RFC 9112) with keep-alive, and clients that hold up nobody but themselves.

A worker thread gets a connection only once its TLS handshake is done and a whole request is there, body included.
Until then the one accepting thread reads without waiting; what a client doesn't take at once of an answer, that thread
sends on, too. A client that sends nothing, or a byte a second, or reads nothing, costs a socket and memory that is
bounded (`limits.py`).
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from cloudpulse import limits as bounds
from cloudpulse import logs
from cloudpulse.connection import Connection
from cloudpulse.connections import Connections, Seldom, most_waiting
from cloudpulse.limits import PATIENCE_SECONDS, Limits
from cloudpulse.workers import Workers

if TYPE_CHECKING:  # a server without TLS doesn't load it
    from cloudpulse.tls import Tls

BACKLOG = 128
"""Connections that the system keeps until they are taken."""

QUIET_SECONDS = 60.0
"""How long it must have gone well for the next request without room to be told."""

log = logs.get(__name__)


class WsgiServer:
    """Serves `app` on `address` between `serve` and `stop`; bound from construction on. Raises OSError.

    At most `threads` requests are worked on at once, and probes (`limits.PROBED`) besides.
    """

    def __init__(
        self,
        app: Callable[..., Iterable[bytes]],
        address: tuple[str, int],
        *,
        threads: int,
        limits: Limits,
        tls: Tls | None = None,
    ) -> None:
        self.app = app
        self.limits = limits
        self.patience = PATIENCE_SECONDS
        self.stops_at = float("inf")
        self.not_yet: tuple[type[OSError], ...] = (BlockingIOError,) if tls is None else tls.NOT_YET
        self.workers = Workers(self._work, threads)
        self._spare = Workers(self._work, bounds.SPARE_THREADS)
        self._full = Seldom(QUIET_SECONDS)
        self._tls = tls
        self._socket = _bound(address)
        self.address: tuple[str, int] = self._socket.getsockname()[:2]
        self._connections = Connections(self._socket, self, most_waiting())

    def serve(self) -> None:
        """Until `stop`, which another thread calls."""
        self._connections.run()

    def stop(self, seconds: float) -> None:
        """Finish the requests under way within that time; cut whoever is too slow for it. Once is enough."""
        if self.stops_at < float("inf"):
            return
        self.stops_at = time.monotonic() + seconds
        self._connections.stop()
        self._socket.close()
        self._connections.finish(self.stops_at)
        self.workers.stop(self.stops_at)
        self._spare.stop(self.stops_at)
        self._connections.close()

    @property
    def waiting(self) -> int:
        """Requests that no thread has taken."""
        return self.workers.waiting

    def take(self, sock: socket.socket, address: tuple[str, int]) -> None:
        """A new connection."""
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            secured = None if self._tls is None else self._tls.wrap(sock)
        except OSError as error:
            log.debug("client lost", reason=str(error))
            sock.close()
            return
        # An IPv4 client of a socket for both comes as ::ffff:1.2.3.4.
        host = address[0].removeprefix("::ffff:") if "." in address[0] else address[0]
        self.go_on(Connection(self, sock if secured is None else secured.socket, (host, address[1]), secured))

    def go_on(self, connection: Connection) -> None:
        """With what is new, has something to read or room to write; never waits."""
        try:
            whole = connection.go_on()
        except OSError as error:
            if not isinstance(error, ConnectionError):  # that is how every connection ends
                log.debug("client lost", reason=str(error))
            connection.close()
            return
        except Exception:  # a bug with one client must not end the others
            log.error("connection failed", exc_info=True)
            connection.close()
            return
        if whole:
            self.hand(connection)
        elif self.stops_at < float("inf") and not connection.sending:
            connection.close()
        else:
            self._connections.put(connection)

    def hand(self, connection: Connection) -> None:
        """To a worker, who answers: a spare one where a probe would wait for long requests."""
        if self.workers.busy and connection.path in bounds.PROBED:
            self._spare.put(connection)
        elif self.workers.held + connection.held <= bounds.MOST_HELD or not self.workers.waiting:
            self.workers.put(connection)
        else:
            if self._full():
                log.error("a request was turned away: those that wait for a thread take all memory they may")
            connection.close()

    def _work(self, connection: Any) -> None:
        goes_on = False
        try:
            goes_on = connection.communicate()
        finally:
            if goes_on:
                self.go_on(connection)
            else:
                connection.close()


def _bound(address: tuple[str, int]) -> socket.socket:
    """On one socket, as in Go: for no host one for IPv4 and IPv6, for a name its first IPv4 address."""
    failed = OSError("no such address")
    host, port = address
    if not host:
        host = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104  as every exporter
    # As bytes where it can be: for a text, Python loads its tables of international names.
    name = host.encode() if host.isascii() else host
    places = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, _, _, _, place in sorted(places, key=lambda one: one[0] != socket.AF_INET):
        try:
            both = family == socket.AF_INET6 and place[0] == "::" and socket.has_dualstack_ipv6()
            listening = socket.create_server(place, family=family, backlog=BACKLOG, dualstack_ipv6=both)
        except OSError as error:
            failed = error
        else:
            listening.setblocking(False)
            return listening
    raise failed
