"""Calendar: what the clock on the wall of a forecast's place says."""

from __future__ import annotations

import bisect
import itertools
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from cloudpulse.zones import zone

_PROBE_SECONDS = 86400.0
"""No zone has changed its clocks twice within a day."""


@dataclass(frozen=True)
class Calendar:
    """A time zone by its IANA name. Raises ValueError for one that doesn't exist."""

    timezone: str = "UTC"

    def __post_init__(self) -> None:
        zone(self.timezone)

    @property
    def plain(self) -> bool:
        """Whether this is UTC, in which nothing needs to be done."""
        return self.timezone == "UTC"

    def offsets(self, start: float, step: float, count: int) -> NDArray[np.float64]:
        """By how many seconds local time is ahead of UTC at Unix times `start`, `start + step`, ...: [count]."""
        there = zone(self.timezone)

        def offset(column: int) -> float:
            ahead = datetime.fromtimestamp(start + column * step, there).utcoffset()
            assert ahead is not None
            return ahead.total_seconds()

        found = np.full(count, offset(0))
        probes = [*range(0, count, max(1, int(_PROBE_SECONDS / step))), count - 1]
        for low, high in itertools.pairwise(probes):
            before, after = found[low], offset(high)
            if after != before:
                first = bisect.bisect_left(range(low, high), True, key=lambda c: offset(c) != before)
                found[low + first :] = after
        return found


UTC = Calendar()
