"""Medians, means and quantiles that skip NaN, vectorised and quick along short axes.

numpy's own nan-functions fall back to a Python loop over rows or warn on empty ones; an all-NaN row here gives NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
"""float32 where it pays, float64 where it must; every function here keeps what it gets."""


def median(values: Array) -> Array:
    """Median along the last axis."""
    ordered, count = _ordered(values)
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0) // 2, -1)
    high = np.take_along_axis(ordered, np.minimum(count // 2, ordered.shape[-1] - 1), -1)
    # Halves are added, not the sum halved: where nothing was seen, inf stays inf and becomes NaN below.
    middle = low * np.float32(0.5) + high * np.float32(0.5)
    return np.where(count > 0, middle, np.float32(np.nan))[..., 0]


def mean(values: Array) -> Array:
    """Mean along the last axis."""
    seen = ~np.isnan(values)
    count = seen.sum(-1, dtype=np.float32)
    total = np.where(seen, values, np.float32(0)).sum(-1, dtype=np.float32)
    return np.where(count > 0, total / np.maximum(count, np.float32(1)), np.float32(np.nan))


def quantiles(values: Array, levels: Sequence[float] | NDArray[np.float64]) -> Array:
    """Quantiles along the last axis, linear between order statistics; the new last axis runs over `levels`."""
    ordered, count = _ordered(values)
    place = np.maximum(count - 1, 0) * np.asarray(levels, np.float64)
    low = place.astype(np.intp)
    high = np.minimum(low + 1, np.maximum(count - 1, 0))
    part = (place - low).astype(np.float32)
    below, above = np.take_along_axis(ordered, low, -1), np.take_along_axis(ordered, high, -1)
    with np.errstate(invalid="ignore"):  # inf - inf where nothing was seen
        found = below + part * (above - below)
    return np.where(count > 0, found, np.float32(np.nan))


def smooth(values: Array, reach: int) -> Array:
    """Centred mean over `reach` places each side, of what is there; the ends use what they have."""
    if reach < 1:
        return values
    seen = ~np.isnan(values)
    total = _moving(np.where(seen, values, np.float32(0)), reach)
    count = _moving(seen.astype(np.float32), reach)
    return np.where(count > 0.5, total / np.maximum(count, 1), np.nan).astype(np.float32)


def first_known(*choices: Array) -> Array:
    """Per element the first choice that isn't NaN."""
    found = choices[0]
    for other in choices[1:]:
        found = np.where(np.isnan(found), other, found)
    return found


def normal_scores(levels: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Levels on the scale of the normal distribution, on which tails run straight."""
    normal = NormalDist()
    return np.array([normal.inv_cdf(float(level)) for level in levels])


def level_weights(known: Sequence[float] | NDArray[np.float64], asked: Sequence[float]) -> NDArray[np.float64]:
    """Matrix [known, asked] that turns quantiles at `known` levels into those at `asked`.

    Linear between neighbours on the scale of the normal distribution, on which tails run straight; beyond the
    outermost levels the last slope goes on. Rising quantiles stay rising.
    """
    have = normal_scores(known)
    weights = np.zeros((len(have), len(asked)))
    for column, z in enumerate(normal_scores(asked)):
        right = int(np.clip(np.searchsorted(have, z), 1, len(have) - 1))
        part = (z - have[right - 1]) / (have[right] - have[right - 1])
        part = round(float(part), 12)  # an asked level that is known comes out exactly
        weights[right - 1, column], weights[right, column] = 1 - part, part
    return weights


def _ordered(values: Array) -> tuple[Array, NDArray[np.intp]]:
    """Sorted along the last axis with what is missing at the end, and how much there is."""
    missing = np.isnan(values)
    ordered = np.where(missing, np.float32(np.inf), values)
    ordered.sort(-1)
    return ordered, (values.shape[-1] - missing.sum(-1, keepdims=True)).astype(np.intp)


def _moving(values: Array, reach: int) -> NDArray[np.float64]:
    sums = np.zeros((*values.shape[:-1], values.shape[-1] + 1))
    np.cumsum(values, axis=-1, out=sums[..., 1:])
    place = np.arange(values.shape[-1])
    last, first = np.minimum(place + reach + 1, values.shape[-1]), np.maximum(place - reach, 0)
    moved: NDArray[np.float64] = sums[..., last] - sums[..., first]
    return moved
