"""The anomaly score: how far the newest value lies from what was forecast for it before it was known.

0 at the median, 1 at the edge of the band, linear beyond. The edge is a far tail (99 %, two-sided) and not an outermost
configured level, outside of which one value in five may lie on a good day.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from forecaster.store import Issue

EDGE = 0.995
"""The level at the upper edge of the band; below, it is the one as far from 0."""
FLOOR_SPAN = 0.05
"""A band is no narrower, from the median to the edge, than this share of the range of the series' recent values."""
FLOOR_VALUE = 0.01
"""And no narrower than this share of the expected value itself: a series that never moved may move by a hair."""
MOST = 1000.0
"""The highest score: a series that was always 0 and isn't any more has no scale to be measured by."""


def anomaly_score(issue: Issue) -> NDArray[np.float64]:
    """[series]; NaN where nothing was expected, nothing was observed, or no level but the median is forecast.

    Each side has its own width, from the median to the outermost level on that side, carried outward to EDGE as
    Student's t with 4 degrees of freedom has it (`_far`); a side without a level has the width of the other. A band
    of no width at all says nothing: of a young series, whose models know no spread yet, its own range counts instead.
    """
    expected, levels = issue.expected_now, issue.forecast.levels
    middle = levels.index(0.5)
    median, outer = expected[:, middle], (levels[0], levels[-1])
    low, high = (np.abs(expected[:, k] - median) * _factor(level) for k, level in zip((0, -1), outer, strict=True))
    above = issue.observed >= median
    width = np.where(above, high if outer[1] > 0.5 else low, low if outer[0] < 0.5 else high)
    if len(levels) == 1:
        width = np.full(len(median), np.nan)
    width = np.maximum(width, FLOOR_VALUE * np.abs(median))
    if issue.background is not None:
        share = np.where((low == 0) & (high == 0), 1.0, FLOOR_SPAN)
        width = np.maximum(width, np.nan_to_num(share * issue.background.span))
    off = np.abs(issue.observed - median)
    with np.errstate(divide="ignore", invalid="ignore"):
        score = np.where(off == 0, 0.0, np.minimum(off / width, MOST))
    return np.where(np.isnan(off) | np.isnan(width), np.nan, score)


def _factor(level: float) -> float:
    """How many times further from the median EDGE lies than `level`."""
    return _far(EDGE) / max(abs(_far(level)), 1e-9)


def _far(level: float) -> float:
    """The quantile `level` of Student's t with 4 degrees of freedom (Shaw 2006, J. Comput. Finance 9(4), eq. 37)."""
    alpha = 4 * level * (1 - level)
    root = math.cos(math.acos(math.sqrt(alpha)) / 3) / math.sqrt(alpha)
    return math.copysign(2 * math.sqrt(max(root - 1, 0.0)), level - 0.5)
