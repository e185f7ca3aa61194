"""A token bucket, as golang.org/x/time/rate has it: full at first, one more token each interval."""

from __future__ import annotations

import threading

from cloudpulse.clock import Clock


class TokenBucket:
    """Holds up to `burst` tokens. Any thread may take one. `ticks` must not jump."""

    def __init__(self, interval_seconds: float, burst: int, ticks: Clock) -> None:
        self._interval = interval_seconds
        self._burst = burst
        self._ticks = ticks
        self._tokens = float(burst)
        self._at = ticks()
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Take a token; False when there is none."""
        with self._lock:
            now = self._ticks()
            self._tokens = min(self._burst, self._tokens + (now - self._at) / self._interval)
            self._at = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True
