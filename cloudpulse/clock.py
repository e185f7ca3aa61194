"""Time as a parameter, so that tests need not wait."""

from __future__ import annotations

from collections.abc import Callable

Clock = Callable[[], float]
"""Unix seconds now; `time.time` in production, `cloudpulse.testing.FakeClock` in tests."""
