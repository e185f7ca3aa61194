"""What goes out on one connection: sent at once as far as the client takes it, the rest kept until it takes more."""

from __future__ import annotations

import selectors
import time
from collections import deque
from contextlib import suppress
from typing import Any, Protocol

from cloudpulse import limits
from cloudpulse.answer import Gone

_Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)
"""Without a file descriptor of its own: it works when there is none left."""


class Setting(Protocol):
    """What it needs of the server."""

    patience: float
    """Seconds."""
    stops_at: float
    """By `time.monotonic`; infinite until a stop has begun."""
    not_yet: tuple[type[OSError], ...]
    """What a socket raises that would have to wait."""


class Outlet:
    """The bytes for the client of `socket`, in order. `sent` counts those of the present answer."""

    def __init__(self, server: Setting, socket: Any) -> None:
        self.sent = 0
        self._server = server
        self._socket = socket
        self._waiting: deque[memoryview] = deque()

    def __bool__(self) -> bool:
        """Whether something waits for the client."""
        return bool(self._waiting)

    @property
    def held(self) -> int:
        """Bytes that wait."""
        return sum(map(len, self._waiting))

    def send(self, data: bytes, *, more: bool = False) -> None:
        """See `answer.Out`."""
        if data:
            self._waiting.append(memoryview(data))
        try:
            with suppress(*self._server.not_yet):
                self.flush()
        except OSError as error:
            self._waiting.clear()
            raise Gone(str(error)) from error
        if more and self.held > limits.ROOM:
            self.wait(limits.ROOM)

    def flush(self) -> None:
        """Send what waits. Raises what is not yet possible, and OSError."""
        while self._waiting:
            sent = self._socket.send(self._waiting[0])
            self.sent += sent
            if sent == len(self._waiting[0]):
                self._waiting.popleft()
            else:
                self._waiting[0] = self._waiting[0][sent:]

    def wait(self, room: int) -> None:
        """Until no more than `room` bytes wait for the client; raises Gone when it is too slow."""
        patience = self._server.patience
        began, marked = time.monotonic(), self.sent
        try:
            with _Selector() as ready:
                ready.register(self._socket, selectors.EVENT_WRITE)
                while self.held > room:
                    if self.sent - marked >= limits.LEAST_RATE * patience:
                        began, marked = time.monotonic(), self.sent
                    until = min(began + patience, self._server.stops_at)
                    if not ready.select(max(0.0, until - time.monotonic())):
                        raise TimeoutError("took too little of the answer")
                    with suppress(*self._server.not_yet):
                        self.flush()
        except OSError as error:
            self._waiting.clear()
            raise Gone(str(error)) from error
