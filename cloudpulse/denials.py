"""How many denied requests are told in the log: anyone can be denied as often as they like."""

from __future__ import annotations

import threading

from cloudpulse.clock import Clock

MOST_DENIALS = 10
DENIALS_SECONDS = 60.0
"""In so many seconds no more than these are told of each cause."""


class Denials:
    """Counts them. For several threads; `ticks` must not jump."""

    def __init__(self, ticks: Clock) -> None:
        self._ticks = ticks
        self._lock = threading.Lock()
        self._counts: dict[str, tuple[float, int]] = {}

    def untold(self, cause: str) -> int | None:
        """How many of this cause were left out since the last that was told; None when this one is, too."""
        with self._lock:
            now = self._ticks()
            began, count = self._counts.get(cause, (now, 0))
            left_out = 0
            if now - began >= DENIALS_SECONDS:
                left_out, began, count = max(0, count - MOST_DENIALS), now, 0
            self._counts[cause] = began, count + 1
            return None if count >= MOST_DENIALS else left_out
