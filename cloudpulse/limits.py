"""What a server takes of its clients: sizes, times, counts. `docs/serving.md` tells operators of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

PATIENCE_SECONDS = 10.0
"""For a whole head, TLS handshake included, and for each part of a body or an answer that `LEAST_RATE` makes in it."""
LEAST_RATE = 2**14
"""Bytes a second of a body or an answer."""
IDLE_SECONDS = 75.0
"""How long a connection is kept without a request: longer than most scrape intervals."""
LINGER_SECONDS = 2.0
"""How long a client may take to read an answer that was given before all of its request was read."""
MOST_CONNECTIONS = 1000
"""Waiting for a request, their client or a worker; half of the files that may be open if that is less."""
MOST_HELD = 2**27
"""Bytes of bodies and answers that wait for slow clients, in all; and of requests that wait for a thread."""
ROOM = 2**20
"""Bytes of an answer made piece by piece that may wait before the next piece is made."""


PROBED = frozenset(("/metrics", "/-/healthy", "/-/ready", "/health", "/livez", "/readyz", "/healthz"))
"""Paths that machines ask for every few seconds, and restart a service or page somebody for want of an answer."""
SPARE_THREADS = 2
"""For those paths, while all other threads are busy."""


@dataclass(frozen=True)
class Limits:
    """What differs between services. `body` is asked for each request: a reload may change it."""

    head: int = 2**16
    """Bytes of request line and headers."""
    headers: int = 100
    body: Callable[[], int] = lambda: 2**16
    """Bytes; the app sees the length of a larger one, and can't read it."""


DEFAULTS = Limits()
