"""When will it cross, and how likely? From quantile paths to seconds and to a chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.config import Threshold
from forecaster.forecast import Forecast
from forecaster.frame import Frame
from forecaster.models.grid import Grid
from forecaster.models.robust import normal_scores, quantiles
from forecaster.store import Issue

PATHS = 128
"""Paths that a chance is counted on: its error is a few hundredths, the same at every round, so it doesn't flicker."""
_POINTS = 288
"""Points of a path that are looked at; on longer ones a point stands for several steps."""
_FAR = 8.0
"""Standard deviations beyond which nothing is: the chance there is below any that can be shown."""
_DAYS, _FEWEST_DAYS = 7, 3
"""Days before now on which persistence is measured."""
_LAG = 4
_NOISE = 0.05
_HELD = 0.5
_MOST_LASTING = 0.999
_DIGITS = 6
_AT_ONCE = 500

_TABLE = np.array(
    [math.log(max(0.5 * math.erfc(-z / math.sqrt(2)), 1e-30)) for z in np.arange(-1000, 801) / 100], np.float32
)


def time_to_threshold(issue: Issue, threshold: Threshold, now: float) -> NDArray[np.float64]:
    """Seconds from Unix time `now` until each quantile path is at or beyond `threshold`; [series, levels].

    0 where the newest observation already is, +Inf where the path doesn't get there, NaN without a forecast.
    Between two steps the path is a straight line, so the answer doesn't jump by whole steps.
    """
    values = threshold.sign * issue.forecast.values
    observed, limit = threshold.sign * issue.observed, threshold.sign * threshold.value
    count, steps, levels = values.shape
    before = np.concatenate([np.repeat(observed[:, None, None], levels, axis=2), values], axis=1)
    reached = values >= limit
    first = np.argmax(reached, axis=1)  # [series, levels]; 0 also if never: told apart below
    rows, columns = np.indices((count, levels))
    low, high = before[rows, first, columns], before[rows, first + 1, columns]
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.where(high > low, (limit - low) / (high - low), 1.0)
    # Without a newest observation the line before the first step is unknown: the step itself counts.
    part = np.clip(np.where(np.isnan(part), 1.0, part), 0.0, 1.0)
    start = issue.forecast.start - issue.forecast.step
    seconds = np.maximum(start + (first + part) * issue.forecast.step - now, 0.0)
    seconds = np.where(reached.any(axis=1), seconds, np.inf) if steps else np.full((count, levels), np.inf)
    seconds = np.where((observed >= limit)[:, None], 0.0, seconds)
    return np.where(np.isnan(values).all(axis=1), np.nan, seconds)


def threshold_probability(
    forecast: Forecast, recent: Frame, threshold: Threshold, horizons: Sequence[float]
) -> NDArray[np.float64]:
    """Chance that a series is at or beyond `threshold` at some step of its next `horizons` seconds; [series, horizons].

    1 where the newest observation of `recent` (the forecast's series) already is, NaN without a forecast; never falls
    with the horizon.

    The quantiles say how likely each step is beyond; how these chances add up depends on how steps hang together:
    hardly at all where a load keeps its place, fully where it is new noise at every step. So it is counted on paths
    (a Gaussian copula, as the Schaake shuffle of Clark et al. 2004 is an empirical one). What is assumed: on its normal
    scores a path is a part that persists, an AR(1) whose correlation from step to step is lower while the forecast's
    spread still grows, and a part that is new at every step. Their persistence and shares are measured from the
    autocorrelation of the differences from the time of day's mean, at 1 and 4 steps (`_persistence`). Beyond the
    outermost level the tails are those of a normal distribution; between two steps nothing is seen, as in the series
    itself.
    """
    ends = [min(round(horizon / forecast.step), forecast.horizon) for horizon in horizons]
    answer = np.full((len(forecast.labels), len(horizons)), np.nan)
    known = np.isfinite(forecast.values).all((1, 2)) if forecast.horizon else np.zeros(len(answer), bool)
    needed = np.flatnonzero(known)
    for first in range(0, len(needed), _AT_ONCE):
        rows = needed[first : first + _AT_ONCE]
        answer[rows] = _chances(
            forecast.values[rows, : max(ends)], forecast.levels, recent.select(rows), threshold, ends
        )
    if recent.length:
        beyond = threshold.sign * recent.values[:, -1] >= threshold.sign * threshold.value
        answer[beyond & known] = 1.0
    return np.round(answer, _DIGITS)


def _chances(
    values: NDArray[np.float64], levels: tuple[float, ...], recent: Frame, threshold: Threshold, ends: list[int]
) -> NDArray[np.float64]:
    """[series, ends]; `values` [series, step, level]."""
    barrier = threshold.sign * _score_of(values, levels, threshold.value)
    alone = _tail(barrier)  # [series, step]: the chance of each step by itself
    least = np.maximum.accumulate(alone, axis=1)
    most = np.minimum(np.cumsum(alone, axis=1), 1.0)
    pick = np.array(ends) - 1
    answer = 0.5 * (least + most)[:, pick]
    # The truth lies between the largest chance and their sum; only where these differ are paths needed.
    open_ = np.flatnonzero((most - least)[:, pick].max(1) > 0.01)
    if len(open_):
        width = normal_scores((levels[0], levels[-1]))
        variance = ((values[open_, :, -1] - values[open_, :, 0]) / (width[1] - width[0])) ** 2
        counted = _count(barrier[open_], variance, *_persistence(recent.select(open_)), pick)
        answer[open_] = np.clip(counted, least[open_][:, pick], most[open_][:, pick])
    return np.maximum.accumulate(answer[:, np.argsort(pick)], axis=1)[:, np.argsort(np.argsort(pick))]


def _score_of(values: NDArray[np.float64], levels: tuple[float, ...], value: float) -> NDArray[np.float64]:
    """The normal score at which each step's quantiles reach `value`, [series, step]; ±8 is beyond everything.

    At a stretch of equal quantiles the one at which `value` is first reached counts.
    """
    z = normal_scores(levels)
    if len(z) < 2:
        return np.where(values[..., 0] >= value, -_FAR, _FAR)
    segment = np.clip((values < value).sum(-1) - 1, 0, len(z) - 2)
    low = np.take_along_axis(values, segment[..., None], -1)[..., 0]
    high = np.take_along_axis(values, segment[..., None] + 1, -1)[..., 0]
    width = np.where(high > low, high - low, 1.0)
    score = z[segment] + (value - low) / width * (z[segment + 1] - z[segment])
    flat = np.where(value > high, _FAR, -_FAR)
    return np.clip(np.where(high > low, score, flat), -_FAR, _FAR)


def _count(
    barrier: NDArray[np.float64],
    variance: NDArray[np.float64],
    persistence: NDArray[np.float64],
    fresh: NDArray[np.float64],
    pick: NDArray[np.intp],
) -> NDArray[np.float64]:
    """The share of paths that reach `barrier` [series, step] at or before the steps `pick`; [series, pick].

    `variance` [series, step] is the forecast's, `fresh` [series] that of the part that is new at every step. Only the
    part that persists is drawn; that the other stays below the rest is a product of chances.
    """
    count, steps = barrier.shape
    every = -(-steps // _POINTS)
    variance = np.maximum(variance, 1e-24)
    # What is forgotten within a point's steps would be looked at too seldom: it counts as new.
    fresh = np.where(persistence**every < _HELD, np.inf, fresh)[:, None]
    lasting = np.clip(1 - np.minimum(fresh, variance[:, :1]) / variance, 0.0, _MOST_LASTING)
    lasting = np.where(np.isinf(fresh), 0.0, lasting)
    held = np.sqrt(lasting * variance)
    # Between the points that are looked at, a path goes higher than at them (Broadie, Glasserman & Kou 1997).
    missed = 0.5826 * (np.sqrt(1 - persistence ** (2 * every)) - np.sqrt(1 - persistence**2))
    answer = np.empty((count, len(pick)))
    below = np.zeros((count, PATHS), np.float32)  # logarithm of the chance to have stayed below so far
    path = np.zeros_like(below)
    for i, draw in enumerate(_normals(-(-steps // every))):
        block = slice(i * every, min((i + 1) * every, steps))
        last = block.stop - 1
        grown = held[:, max(last - every, 0)] / np.maximum(held[:, last], 1e-12) if i else np.zeros(count)
        kept = (persistence**every * np.clip(grown, 0.0, 1.0))[:, None].astype(np.float32)
        path = kept * path + np.sqrt(1 - kept**2) * draw
        size = np.sqrt(lasting[:, last])
        lowest = barrier[:, block].min(1) - missed * size
        room = ((lowest[:, None] - size[:, None] * path) / np.sqrt(1 - lasting[:, last])[:, None]).astype(np.float32)
        below += (block.stop - block.start) * _log_normal(room)
        for k in np.flatnonzero((pick >= block.start) & (pick < block.stop)):
            answer[:, k] = 1 - np.exp(below).mean(1)
    return answer


def _persistence(recent: Frame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Correlation from step to step of the part that persists, and the variance of the other; [series] each.

    Where the part that persists is a share s of the variance and keeps p of itself in a step, the autocorrelation is
    s * p at 1 step and s * p^4 at 4. Measured on differences from the mean of the same time of day, of which D days
    leave 1 - 1/D of the variance; without three days of history on those from the mean.
    """
    day = Grid(recent.step).day
    days = min(recent.length // day, _DAYS)
    values, group = recent.values[:, -days * day :], day
    if days < _FEWEST_DAYS:
        values, days, group = recent.values, max(recent.length, 2), 1
    cube = values.reshape(len(values), -1, group)
    seen = np.isfinite(cube)
    mean = np.where(seen, cube, 0.0).sum(1, keepdims=True) / np.maximum(seen.sum(1, keepdims=True), 1)
    moved = (cube - mean).reshape(values.shape)
    near, far = _autocorrelation(moved, 1), _autocorrelation(moved, _LAG)
    lasts = (near > _NOISE) & (far > 0.0)
    p = np.where(lasts, (np.where(lasts, far, 1) / np.where(lasts, near, 1)) ** (1 / (_LAG - 1)), near)
    p = np.clip(np.where(near > _NOISE, p, 0.0), 0.0, 0.9999)
    share = np.clip(np.where(p > 0, near / np.where(p > 0, p, 1.0), 0.0), 0.0, 1.0)
    low, high = quantiles(moved, (0.25, 0.75)).T.astype(np.float64)
    variance = ((high - low) / 1.349) ** 2 / (1 - 1 / days)
    return p, (1 - share) * np.nan_to_num(variance)


def _autocorrelation(values: NDArray[np.float64], lag: int) -> NDArray[np.float64]:
    """[series], around 0; 0 where too little is known."""
    now, before = values[:, lag:], values[:, :-lag]
    both = np.isfinite(now) & np.isfinite(before)
    scale = np.maximum(np.abs(np.where(np.isfinite(values), values, 0.0)).max(1, initial=0.0), 1e-300)[:, None]
    now, before = np.where(both, now, 0.0) / scale, np.where(both, before, 0.0) / scale
    size = np.sqrt((now**2).sum(1) * (before**2).sum(1))
    found: NDArray[np.float64] = np.where(size > 0, (now * before).sum(1) / np.where(size > 0, size, 1.0), 0.0)
    return found


def _normals(points: int) -> NDArray[np.float32]:
    """[point, path]: the same at every call, and symmetric."""
    half = np.random.default_rng(0).standard_normal((points, PATHS // 2), np.float32)
    return np.concatenate([half, -half], 1)


def _tail(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """The chance that a standard normal number is at or above `z`."""
    return np.asarray(np.exp(_log_normal(-z)), np.float64)


def _log_normal(z: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Logarithm of the chance that a standard normal number is below `z`, from a table in steps of 0.01."""
    found: NDArray[np.float32] = _TABLE[np.rint((np.clip(z, -10.0, 8.0) + 10.0) * 100).astype(np.int32)]
    return found
