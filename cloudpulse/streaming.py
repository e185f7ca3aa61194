"""Open WebSockets (RFC 6455): one thread keeps them all, sends what their feeds give and drops who holds it up.

A stream is one client's connection after its handshake (`cloudpulse/websocket.py`). What it says is not listened to.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from websockets import protocol as sansio
from websockets.frames import CloseCode

from cloudpulse import logs
from cloudpulse.errors import CloudPulseError

ROOM = 2**16
"""Bytes that wait for a client at most before its feed is asked again; one message more may lie above."""
AT_ONCE = 2**16
"""Bytes read or sent in one go: more than a TLS record, so that nothing read stays hidden from the selector."""
LARGEST_SAID = 2**12
"""Bytes of a client's message: it has nothing to say."""
MOST_SAID = 2**16
"""Bytes that a client may say between two looks at it: pongs need a few."""
LOOK_SECONDS = 0.5
"""Between two looks at who is silent, stuck or too loud."""

log = logs.get(__name__)


class Feed(Protocol):
    """What one client is to be sent. Asked by the streaming thread only; never waits."""

    def pull(self) -> str | None:
        """The next message; None when there is none yet (then `Streams.wake`). Raises StreamEnded for no more."""


class StreamEnded(CloudPulseError):
    """A feed has no more for its client, who is told the code (RFC 6455, 7.4) and the reason."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True)
class Patience:
    """Seconds: of silence until a ping, until it must be answered, without taking what waits, and to say good-bye."""

    ping: float = 20
    pong: float = 20
    stalled: float = 20
    closing: float = 2


class Streams:
    """At most `most` streams in one thread, between `start` and `close`; other methods may be called by any thread."""

    def __init__(self, most: int, patience: Patience = Patience()) -> None:
        self._most = most
        self._patience = patience
        self._lock = threading.Lock()
        self._count = 0
        self._open = False
        self._closing_until = float("inf")
        self._arrivals: deque[_Stream] = deque()
        self._streams: set[_Stream] = set()
        self._selector = selectors.DefaultSelector()
        self._bell, self._button = socket.socketpair()
        self._rung = False
        self._reviewing = False
        self._thread = threading.Thread(target=self._run, name="streams", daemon=True)

    @property
    def count(self) -> int:
        """How many are open or about to be."""
        return self._count

    def start(self) -> None:
        """Begin to admit."""
        self._bell.setblocking(False)
        self._button.setblocking(False)
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._open = True
        self._thread.start()

    def admit(self) -> bool:
        """Take a place for a stream, which `adopt` fills; False when there is none."""
        with self._lock:
            admitted = self._open and self._count < self._most
            self._count += admitted
        return admitted

    def adopt(self, connection: Any, said: bytes, feed: Feed, still: Callable[[], None] = lambda: None) -> None:
        """Keep a socket whose handshake is done, and close it in the end; `said` is what was already read from it.

        `still` raises StreamEnded when this client may not listen any more.
        """
        stream = _Stream(connection, feed, still, time.monotonic())
        stream.hear(said, time.monotonic())
        self._arrivals.append(stream)
        self.wake()

    def wake(self) -> None:
        """Some feeds may have something new."""
        if not self._rung:
            self._rung = True
            with suppress(OSError):  # full: it will be heard; closed: nobody listens
                self._button.send(b"\0")

    def review(self) -> None:
        """Who may listen has changed: look at everyone again."""
        self._reviewing = True
        self.wake()

    def close(self) -> None:
        """Admit nobody, tell all clients that the server goes (1001), and let go of them."""
        with self._lock:
            was_open, self._open = self._open, False
        if was_open:
            self._closing_until = time.monotonic() + self._patience.closing
            self.wake()
            self._thread.join(self._patience.closing + 1)

    def _run(self) -> None:
        looked_at = time.monotonic()
        while self._open or (self._count and time.monotonic() < self._closing_until):
            ready = self._selector.select(LOOK_SECONDS)
            now = time.monotonic()
            for key, events in ready:
                if key.data is None:
                    self._answer_bell()
                elif key.data in self._streams:
                    self._turn(key.data, now, readable=bool(events & selectors.EVENT_READ))
            if not self._open:
                for stream in self._streams:
                    stream.end(CloseCode.GOING_AWAY, "the server stops", now)
            if now - looked_at >= LOOK_SECONDS or not self._open:
                looked_at = now
                for stream in list(self._streams):
                    stream.look(now, self._patience)
                    self._turn(stream, now)
        for stream in [*self._streams, *self._arrivals]:
            self._drop(stream)
        self._selector.close()
        self._bell.close()
        self._button.close()

    def _answer_bell(self) -> None:
        with suppress(BlockingIOError):
            self._bell.recv(AT_ONCE)
        self._rung = False  # from here on a ring means another turn
        now = time.monotonic()
        if self._reviewing:
            self._reviewing = False
            for stream in self._streams:
                stream.check(now)
        while self._arrivals:
            stream = self._arrivals.popleft()
            stream.check(now)  # it was let in before a review that may be over
            self._streams.add(stream)
            self._selector.register(stream.connection, selectors.EVENT_READ, stream)
        for stream in list(self._streams):
            self._turn(stream, now)

    def _turn(self, stream: _Stream, now: float, *, readable: bool = False) -> None:
        """Let a stream do what it can without waiting."""
        try:
            if readable:
                stream.read(now)
            stream.fill(now)
            stream.write(now)
        except OSError:
            stream.over = "lost"
        except Exception:  # a bug with one client must not end the others
            log.exception("stream broke")
            stream.over = "broke"
        if stream.over:
            log.debug("stream over", reason=stream.over)
            self._drop(stream)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if stream.busy else 0)
        if self._selector.get_key(stream.connection).events != wanted:
            self._selector.modify(stream.connection, wanted, stream)

    def _drop(self, stream: _Stream) -> None:
        with suppress(KeyError, ValueError):
            self._selector.unregister(stream.connection)
        with suppress(OSError):
            stream.connection.close()
        self._streams.discard(stream)
        with self._lock:
            self._count -= 1


class _Stream:
    """One client. `over` says why there is nothing left to do with it, and is empty until then."""

    def __init__(self, connection: Any, feed: Feed, still: Callable[[], None], now: float) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.over = ""
        self._protocol = sansio.Protocol(sansio.Side.SERVER, state=sansio.OPEN, max_size=LARGEST_SAID)
        self._feed = feed
        self._still = still
        self._waiting = bytearray()
        self._more = False  # the feed wasn't asked to its end
        self._shut = False
        self._finished = False  # the protocol has nothing to say any more
        self._said = 0
        self._heard_at = self._pinged_at = self._moved_at = now
        self._ended_at: float | None = None

    @property
    def busy(self) -> bool:
        """Whether there is something to do as soon as the client takes more."""
        return bool(self._waiting) or self._more

    def read(self, now: float) -> None:
        """Take in what the client says. Raises OSError when it is gone."""
        try:
            said = self.connection.recv(AT_ONCE)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        if not said:
            self.over = "closed by the client"
        self.hear(said, now)

    def hear(self, said: bytes, now: float) -> None:
        """What the client said: pongs and a good-bye matter, messages are too much only when they are many."""
        self._heard_at = now
        self._said += len(said)
        if said:
            self._protocol.receive_data(said)
            self._protocol.events_received()
            self._collect(now)

    def fill(self, now: float) -> None:
        """Fetch messages while there is room."""
        self._more = False
        while self._protocol.state is sansio.OPEN:
            if len(self._waiting) >= ROOM:
                self._more = True
                return
            try:
                message = self._feed.pull()
            except StreamEnded as ended:
                self.end(ended.code, str(ended), now)
                return
            if message is None:
                return
            self._protocol.send_text(message.encode())
            self._collect(now)

    def write(self, now: float) -> None:
        """Send what the client takes. Raises OSError when it is gone."""
        try:
            while self._waiting:
                with memoryview(self._waiting) as waiting, waiting[:AT_ONCE] as piece:
                    sent = self.connection.send(piece)
                del self._waiting[:sent]
                self._moved_at = now
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        if self._finished and not self._shut:
            # Only its own half: with something unread, a whole close would take back what was just sent (RFC 1122).
            self._shut = True
            self.connection.shutdown(socket.SHUT_WR)

    def end(self, code: int, reason: str, now: float) -> None:
        """Begin to say good-bye, once."""
        if self._protocol.state is sansio.OPEN:
            self._protocol.send_close(code, reason)
            self._collect(now)

    def check(self, now: float) -> None:
        """Begin to say good-bye to a client who may not listen any more, or of whom that can't be told."""
        try:
            self._still()
        except StreamEnded as ended:
            self.end(ended.code, str(ended), now)
        except Exception:  # a bug with one client must not end the others
            log.exception("stream broke")
            self.end(CloseCode.INTERNAL_ERROR, "who listens can't be told", now)

    def look(self, now: float, patience: Patience) -> None:
        """See whether the client is still there and takes what it is sent."""
        if self._ended_at is not None:
            if now - self._ended_at > patience.closing:
                self.over = "said good-bye"
        elif self._waiting and now - self._moved_at > patience.stalled:
            self.over = "too slow: took nothing"
        elif self._pinged_at > self._heard_at:
            if now - self._pinged_at > patience.pong:
                self.over = "didn't answer a ping"
        elif now - self._heard_at > patience.ping:
            self._protocol.send_ping(b"")
            self._pinged_at = now
            self._collect(now)
        if self._said > MOST_SAID:
            self.end(CloseCode.POLICY_VIOLATION, "this stream takes no messages", now)
        self._said = 0

    def _collect(self, now: float) -> None:
        if not self._waiting:
            self._moved_at = now  # from now on something waits
        for data in self._protocol.data_to_send():
            self._waiting += data
            self._finished |= not data  # the sign for the end
        if self._ended_at is None and self._protocol.close_expected():
            self._ended_at = now
