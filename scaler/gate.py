"""Whether a forecast is good enough to be used, series by series, judged by its own live figures. No I/O, no clock.

Each figure has a latch of its own: it shuts where the figure is worse than its threshold, opens again where it is
better by a margin, and stays as it is between the two and while the figure isn't known. A gate is open at first, and
shut while any of its latches is. It only looks for forecasts that are too low too often (coverage) or far from the
truth (MASE); one that covers too much costs money, not service, and gross excess is a MASE far above 1.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping

import msgspec

from cloudpulse.config import Section

FORGET_SECONDS = 3600.0
"""A series that hasn't been seen for so long is new when it comes back; a restart of the forecaster is shorter."""


class Thresholds(Section, frozen=True):
    """When a forecast is not used. `mase: .inf` and `coverage: 1` switch the figures off.

    `mase`: above it. `coverage`: where the share of actual values at or under a level falls short of the level by more,
    0.2 being below 0.7 for level 0.9. `hysteresis`: used again where both are within this share below their thresholds.
    """

    mase: float = 1.2
    coverage: float = 0.2
    hysteresis: float = 0.2

    def __post_init__(self) -> None:
        if not self.mase > 0:
            raise ValueError(f"mase: expected a number above 0, got {self.mase:g}")
        if not 0 < self.coverage <= 1:
            raise ValueError(f"coverage: expected a number above 0 and not above 1, got {self.coverage:g}")
        if not 0 <= self.hysteresis < 1:
            raise ValueError(f"hysteresis: expected 0 or more and below 1, got {self.hysteresis:g}")


class Figures(msgspec.Struct, frozen=True, gc=False):
    """What is known of a forecast at one horizon and level; NaN where nothing is."""

    mase: float
    coverage: float


class _Seen(msgspec.Struct, frozen=True, gc=False):
    accuracy: bool
    coverage: bool
    at: float


class Gate:
    """The gates of one rule's series, each known by a key. For one thread."""

    def __init__(self, thresholds: Thresholds) -> None:
        self._thresholds = thresholds
        self._seen: dict[Hashable, _Seen] = {}

    def shut(self, key: Hashable, figures: Figures, level: float, now: float) -> str:
        """Take up what is known of `key` at Unix time `now`: "" while it is open, else the figure that shut it."""
        bounds = self._thresholds
        before = self._seen.get(key, _OPEN)
        seen = _Seen(
            _latched(before.accuracy, figures.mase, bounds.mase, bounds.hysteresis),
            _latched(before.coverage, level - figures.coverage, bounds.coverage, bounds.hysteresis),
            now,
        )
        self._seen[key] = seen
        return "accuracy" if seen.accuracy else "coverage" if seen.coverage else ""

    def forget(self, now: float) -> None:
        """Drop the series that have not been seen for `FORGET_SECONDS`."""
        self._seen = {key: seen for key, seen in self._seen.items() if now - seen.at <= FORGET_SECONDS}

    def keys(self) -> Mapping[Hashable, object]:
        """The series that are remembered."""
        return self._seen


_OPEN = _Seen(accuracy=False, coverage=False, at=0.0)


def _latched(before: bool, figure: float, threshold: float, hysteresis: float) -> bool:
    if math.isnan(figure):
        return before
    if figure > threshold:
        return True
    return before and figure > threshold * (1 - hysteresis)
