"""One read for all who need the same source within a scrape."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

FRESH_SECONDS = 0.1
"""How old a reading may be; scrapes are a second and more apart."""


class Shared(Generic[T]):
    """Calls `read` at most once in `FRESH_SECONDS`; who asks meanwhile gets what it gave, or waits for it.

    The reading is handed to several threads: treat it as immutable. An error is raised anew by each call.
    """

    def __init__(self, read: Callable[[], T], seconds: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._seconds = seconds
        self._lock = threading.Lock()
        self._kept: tuple[float, T] | None = None

    def __call__(self) -> T:
        """The reading, fresh enough; raises what `read` raises."""
        with self._lock:
            if self._kept is not None and self._seconds() - self._kept[0] < FRESH_SECONDS:
                return self._kept[1]
            self._kept = None  # let go of the old reading before there are two of them
            began = self._seconds()
            reading = self._read()
            self._kept = began, reading
            return reading
