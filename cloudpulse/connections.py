"""The connections of a server that wait for a request: fewer than there are file descriptors for.

cheroot's own take as many as come. Once no descriptor is left its accepting loop starts anew at each failure, before it
looks for idle connections, so that none is ever closed again and nothing else is served.
"""

from __future__ import annotations

import errno
import resource
import sys
import time
from typing import Any

from cloudpulse import logs
from cloudpulse.barecheroot import ConnectionManager

PAUSE_SECONDS = 0.1
"""Between two tries to take a connection while there is no descriptor for it."""
QUIET_SECONDS = 60.0
"""How long it must have gone well for the next shortage to be told."""

_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

log = logs.get(__name__)


class Connections(ConnectionManager):
    """Closes the one that has waited longest when there are more than `most`.

    Only the accepting thread closes, and only between two looks at what is ready: a descriptor that is closed earlier
    could come back as another connection's among those still to be looked at.
    """

    _selector: Any
    _stop_requested: bool

    def __init__(self, server: Any, most: int) -> None:
        super().__init__(server)
        self._most = most
        self._expired_at = time.monotonic()
        self._short_at = float("-inf")

    def _run(self, expiration_interval: float) -> None:
        """See cheroot's; when this was last looked at outlives a failure."""
        while not self._stop_requested:
            try:
                ready = list(self._selector.select(timeout=expiration_interval))
            except OSError:
                self._remove_invalid_sockets()  # type: ignore[attr-defined]  # not in cheroot's stubs
                continue
            short = False
            for descriptor, connection in ready:
                if connection is self.server:
                    short = not self._accept()
                else:
                    self._selector.unregister(descriptor)
                    self.server.process_conn(connection)
            if short or time.monotonic() - self._expired_at > expiration_interval:
                self._expire(time.time() - self.server.timeout)  # type: ignore[attr-defined]  # the same
                self._expired_at = time.monotonic()
            self._let_go(short)
            if short:
                time.sleep(PAUSE_SECONDS)

    def _accept(self) -> bool:
        """Take a connection; False if there is no descriptor for it."""
        try:
            taken = self._from_server_socket(self.server.socket)  # type: ignore[attr-defined]  # the same
        except OSError as error:
            if error.errno not in _SHORTAGES:
                raise
            now = time.monotonic()
            if now - self._short_at > QUIET_SECONDS:
                log.error("no connection can be taken: close the oldest, raise the limit of files", error=str(error))
            self._short_at = now
            return False
        if taken is not None:
            self.server.process_conn(taken)
        return True

    def _let_go(self, short: bool) -> None:
        surplus = max(len(self._selector) - 1 - self._most, int(short))
        if surplus < 1:
            return
        waiting = [(held.last_used, number, held) for number, held in self._selector.connections if held != self.server]
        for _, descriptor, connection in sorted(waiting, key=lambda one: one[0])[:surplus]:
            self._selector.unregister(descriptor)
            connection.close()


def most_waiting() -> int:
    """Half of the files that this process may open: the rest is for requests under way and all else it does."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if limit == resource.RLIM_INFINITY else max(1, limit // 2)
