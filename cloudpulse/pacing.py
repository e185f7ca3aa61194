"""How much is asked of Prometheus at a time, and how often, so that its other users don't notice."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

TARGET_SECONDS = 0.2
"""What a piece may take, answer and all. With longer ones the p99 of others' queries rises, the sum hardly falls."""
GROWTH = 8
LEAST_POINTS = 60
"""A slow query isn't cut shorter than this: many small ones cost Prometheus more in all than they spare it at once."""
REFUSED_SECONDS = 3600.0
"""How long a refusal counts: Prometheus may only have been busy."""
REST = 1.0
"""After a piece of a long read, the next waits for this many times what the piece took."""


class Pace:
    """How long the next piece of one query may be, in points per series, by what those before it cost.

    What a query loads and takes grows at most in proportion to its points, so that what a shorter piece cost bounds
    what a longer one will. The first piece is one point: nothing is known of the query, not even how many series.
    """

    def __init__(self, max_samples: int) -> None:
        self._max_samples = max_samples
        self._samples_per_point = 1.0
        self._by_time = 1
        self._by_refusal = 1
        self._refused_until = float("-inf")

    @property
    def points(self) -> int:
        """At least 1."""
        points = min(self._by_time, int(self._max_samples / self._samples_per_point))
        if time.monotonic() < self._refused_until:
            points = min(points, self._by_refusal)
        return max(1, points)

    def answered(self, points: int, samples: int, seconds: float) -> None:
        """A piece of `points` loaded `samples` and took `seconds`."""
        self._samples_per_point = max(1.0, samples / points)
        in_time = int(points * TARGET_SECONDS / max(seconds, 1e-3))
        if in_time < points:
            self._by_time = max(min(points, LEAST_POINTS), in_time)
        elif points >= self._by_time:
            self._by_time = min(in_time, points * GROWTH)

    def refused(self, points: int) -> None:
        """A piece of `points` was too much, or not answered in time: half of it is the most for a while."""
        self._by_refusal = points // 2
        self._refused_until = time.monotonic() + REFUSED_SECONDS


class Turns:
    """One long read's piece at a time, and a rest after each; short reads don't come here."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rested_at = 0.0

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for the turn; what is done inside is the piece."""
        with self._lock:
            time.sleep(max(0.0, self._rested_at - time.monotonic()))
            began = time.monotonic()
            try:
                yield
            finally:
                ended = time.monotonic()
                self._rested_at = ended + REST * (ended - began)
