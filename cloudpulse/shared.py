"""One reading, or page, for all who ask at nearly the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

FRESH_SECONDS = 0.1
"""How long after its begin a reading is given to who asks; scrapes are a second and more apart."""


class Shared(Generic[T]):
    """Calls `read`; who asks within `FRESH_SECONDS` of its begin gets what it gives, or waits for it.

    Who asks later never waits for that one, which may hang, but begins another. What is read is handed to several
    threads: treat it as immutable. An error is for who asked first; whoever waited with them reads anew.
    """

    def __init__(self, read: Callable[[], T], seconds: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._seconds = seconds
        self._lock = threading.Lock()
        self._last: _Reading[T] | None = None

    def __call__(self) -> T:
        """The reading, fresh enough; raises what `read` raises."""
        while True:
            with self._lock:
                last, now = self._last, self._seconds()
                if last is None or self._over(last, now):
                    begun = self._last = _Reading[T](now)  # lets go of the old one before there are two of them
                    break
            with last.ended:
                pass
            if not last.failed:
                return last.value
        try:
            begun.value = self._read()
        except BaseException:
            begun.failed = True
            raise
        finally:
            begun.ended.release()
        return begun.value

    @property
    def over(self) -> bool:
        """Whether nobody gets the reading any more that has begun last."""
        last = self._last
        return last is not None and self._over(last, self._seconds())

    def _over(self, last: _Reading[T], now: float) -> bool:
        return last.failed or now - last.began >= FRESH_SECONDS


class _Reading(Generic[T]):
    """`ended` is locked until it has: an Event costs fifteen times as much. Without a value until then, or `failed`."""

    __slots__ = ("began", "ended", "failed", "value")

    value: T

    def __init__(self, began: float) -> None:
        self.began = began
        self.failed = False
        self.ended = threading.Lock()
        self.ended.acquire()
