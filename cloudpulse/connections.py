"""The connections of a server that wait for their client: fewer than there are file descriptors for.

Whoever waits longest goes first when there are too many, of the address that holds most of them: a flood from one
place ends its own connections.
"""

from __future__ import annotations

import errno
import selectors
import socket
import sys
import threading
import time
from collections import Counter
from typing import Protocol

from cloudpulse import limits, logs
from cloudpulse.connection import Connection

LOOK_SECONDS = 0.5
"""Between two looks at who is late."""
PAUSE_SECONDS = 0.1
"""Between two tries to take a connection while there is no descriptor for it."""
QUIET_SECONDS = 60.0
"""How long it must have gone well for the next shortage to be told."""
COUNT_SECONDS = 0.05
"""Between two counts of what is held in memory."""

_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

log = logs.get(__name__)


class Seldom:
    """True when asked for the first time after `quiet` seconds of not being asked: what goes on is told once."""

    def __init__(self, quiet: float) -> None:
        self._quiet = quiet
        self._asked_at = float("-inf")

    def __call__(self) -> bool:
        now = time.monotonic()
        before, self._asked_at = self._asked_at, now
        return now - before > self._quiet


class Server(Protocol):
    """Who goes on with connections; never waits."""

    @property
    def waiting(self) -> int:
        """How many requests wait for a worker."""

    def take(self, sock: socket.socket, address: tuple[str, int]) -> None:
        """A new connection."""

    def go_on(self, connection: Connection) -> None:
        """With one that can."""

    def hand(self, connection: Connection) -> None:
        """To a worker."""


class Connections:
    """At most `most` connections, and `limits.MOST_HELD` bytes for them, but for one that is larger alone.

    Only the thread of `run` closes, and only between two looks at what is ready: a descriptor that is closed earlier
    could come back as another connection's among those still to be looked at.
    """

    def __init__(self, listening: socket.socket, server: Server, most: int) -> None:
        self._listening = listening
        self._server = server
        self._most = most
        self._lock = threading.Lock()  # of the selector's map; not held while it waits
        self._selector = selectors.DefaultSelector()
        self._bell, self._button = socket.socketpair()
        self._selector.register(listening, selectors.EVENT_READ)
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._looked_at = self._counted_at = time.monotonic()
        self._short = Seldom(QUIET_SECONDS)
        self._crowded = Seldom(QUIET_SECONDS)
        self._running = threading.Lock()
        self._stopping = self._closed = False

    def put(self, connection: Connection) -> None:
        """Wait for what it waits for; for any thread, which then has nothing more to do with it."""
        with self._lock:
            if not self._closed:
                self._selector.register(connection.socket, connection.events, connection)
                return
        connection.close()

    def run(self) -> None:
        """Until `stop`."""
        with self._running:
            while not self._stopping:
                try:
                    self._look()
                except Exception:  # nobody would be served any more
                    log.error("accepting failed", exc_info=True)
                    time.sleep(PAUSE_SECONDS)

    def stop(self) -> None:
        """End `run` and take no more connections; returns once it has ended."""
        self._stopping = True
        self._button.send(b"\0")
        with self._running, self._lock:
            self._selector.unregister(self._listening)
            self._selector.unregister(self._bell)

    def finish(self, until: float) -> None:
        """After `stop`: send what waits to be sent, for as long as a client may linger, and close all others."""
        until = min(until, time.monotonic() + limits.LINGER_SECONDS)
        while True:
            for connection in self._waiting():
                if not connection.sending:
                    self._end(connection)
            if not self._waiting() or time.monotonic() > until:
                return
            for ready in self._ready(PAUSE_SECONDS):
                if ready is not None:
                    self._server.go_on(ready)

    def close(self) -> None:
        """Close all that are still waiting, and those that come."""
        with self._lock:
            self._closed = True
        for connection in self._waiting():
            self._end(connection)
        self._selector.close()
        self._bell.close()
        self._button.close()

    def _look(self) -> None:
        short = False
        for connection in self._ready(LOOK_SECONDS):
            if connection is None:
                short = not self._accept()
            else:
                self._server.go_on(connection)
        now = time.monotonic()
        if short or now - self._looked_at > LOOK_SECONDS:
            self._looked_at = now
            self._end_late(now)
        self._let_go(short, now)
        if short:
            time.sleep(PAUSE_SECONDS)

    def _ready(self, seconds: float) -> list[Connection | None]:
        """Those that can go on, no longer waited for; None for a new one."""
        found: list[Connection | None] = []
        for key, _ in self._selector.select(seconds):
            if key.data is not None:
                with self._lock:
                    self._selector.unregister(key.fileobj)
                found.append(key.data)
            elif key.fileobj is self._listening:
                found.append(None)
        return found

    def _accept(self) -> bool:
        """Take a connection; False if there is no descriptor for it."""
        try:
            taken, address = self._listening.accept()
        except OSError as error:
            if error.errno not in _SHORTAGES:
                return True  # the client is gone already
            if self._short():
                log.error("no connection can be taken: close the oldest, raise the limit of files", error=str(error))
            return False
        if self._server.waiting >= self._most:
            if self._crowded():
                log.error("a connection was turned away: as many requests as there may be wait for a thread")
            taken.close()
        else:
            self._server.take(taken, address)
        return True

    def _waiting(self) -> list[Connection]:
        with self._lock:
            return [key.data for key in self._selector.get_map().values() if key.data is not None]

    def _end(self, connection: Connection) -> None:
        with self._lock:
            self._selector.unregister(connection.socket)
        connection.close()

    def _end_late(self, now: float) -> None:
        for connection in self._waiting():
            if not connection.late(now):
                continue
            if connection.give_up():
                with self._lock:
                    self._selector.unregister(connection.socket)
                self._server.hand(connection)
            else:
                self._end(connection)

    def _let_go(self, short: bool, now: float) -> None:
        with self._lock:
            waiting = len(self._selector.get_map()) - 2
        for _ in range(max(waiting + self._server.waiting - self._most, int(short))):
            self._end_one()
        if now - self._counted_at > COUNT_SECONDS:
            self._counted_at = now
            self._bound_memory()

    def _end_one(self) -> None:
        """Of the address that holds most, the one that has waited longest."""
        if waiting := self._waiting():
            held = Counter(one.address[0] for one in waiting)
            self._end(min(waiting, key=lambda one: (-held[one.address[0]], one.since)))

    def _bound_memory(self) -> None:
        holding = sorted((one for one in self._waiting() if one.held), key=lambda one: one.since)
        total = sum(one.held for one in holding)
        for one in holding[:-1]:
            if total <= limits.MOST_HELD:
                break
            total -= one.held
            self._end(one)


def most_waiting() -> int:
    """Half of the files that this process may open: the rest is for requests under way and all else it does."""
    try:
        import resource
    except ImportError:  # Windows
        return limits.MOST_CONNECTIONS
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    allowed = sys.maxsize if limit == resource.RLIM_INFINITY else max(1, limit // 2)
    return min(allowed, limits.MOST_CONNECTIONS)
