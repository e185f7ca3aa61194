"""Recognises counters that were asked for raw, by their shape: a forecast of one says nothing that its rate doesn't."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LEAST_CHANGES = 100
_NEAR_ZERO = 0.1
"""A fall to less than this share of the value before is a reset."""
_ALWAYS = 0.95
"""Share of steps that rise in what never was reset; a disk that only fills up now and then is a gauge."""


def look_like_counters(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which rows of [N, time] never fall but by a reset to near 0, after which they rise again. NaN is passed over."""
    seen = ~np.isnan(values)
    latest = np.maximum.accumulate(np.where(seen, np.arange(values.shape[1]), 0), axis=1)
    filled = np.take_along_axis(values, latest, 1)
    before, after = filled[:, :-1], filled[:, 1:]
    rises, falls = (after > before).sum(1), after < before  # a leading gap compares as neither
    resets = falls & (after >= 0) & (after < _NEAR_ZERO * before)
    steps = (seen[:, 1:] & ~np.isnan(before)).sum(1)
    only_resets = falls.sum(1) == resets.sum(1)
    steady = np.where(resets.any(1), rises > steps / 2, rises >= _ALWAYS * steps)
    found: NDArray[np.bool_] = (rises >= _LEAST_CHANGES) & only_resets & steady
    return found
