"""Weighs the cheap members by a dense backtest: per series and horizon bucket, with residual quantiles of the result.

All arrays are in the units of `Scale`: less the centre, over the spread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecaster.model import QUANTILE_GRID
from forecaster.models import members
from forecaster.models.grid import Grid
from forecaster.models.robust import Array, first_known, mean, median, quantiles

BUCKET_HOURS = (1.0, 6.0, 24.0, np.inf)
"""Upper ends of the horizon buckets in which members are weighed."""
BAND_HOURS = (0.25, 1.0, 3.0, 6.0, 12.0, 24.0, np.inf)
"""Upper ends of the horizon buckets of the residual quantiles."""

ORIGINS, ORIGIN_HOURS = 19, 12.0
_POWER = 16.0
FADE, _BAND_FADE = 1.4, 1.2
"""Buckets fade into one another from their common end / this to the end * this."""
_UNREST_POWER, _UNREST_PRIOR = 1.5, 0.3
_ENOUGH_ORIGINS = 4
_SEEN_SHARE, _SEEN_DAYS = 0.3, 3
_CLIP = 60.0
_FEWEST_CHANGES, _MOST_GROWTH, _NARROWED = 8, 3.0, 0.8

_PRIOR = (
    {"hold_1h": 0.3, "tod_hour": 0.4, "hold_lag_change": 0.1, "middle": 0.2},
    {"tod_hour": 0.5, "middle": 0.3, "four_lags": 0.2},
    {"four_lags": 0.35, "tod_median": 0.25, "tod_hour": 0.2, "hold_1d": 0.2},
    {"four_lags": 0.35, "tod_median": 0.25, "tod_hour": 0.2, "hold_1d": 0.2},
)
_PRIOR_WITHOUT_DAYS = (
    {"hold_1h": 0.8, "hold_6h": 0.2},
    {"hold_1h": 0.4, "hold_6h": 0.4, "hold_1d": 0.2},
    {"hold_6h": 0.3, "hold_1d": 0.7},
    {"hold_1d": 0.6, "hold_3d": 0.4},
)
"""Weights per bucket for a series whose history is too short for a backtest."""


@dataclass(frozen=True)
class Scale:
    """Per series: where it lies and how far it strays, so that one arithmetic fits all."""

    centre: NDArray[np.float64]
    spread: NDArray[np.float64]

    def apply(self, values: NDArray[np.float64]) -> Array:
        """Values in units of the spread, float32, clipped to +-60 of them."""
        scaled = (values - self.centre[:, None]) / self.spread[:, None]
        return np.clip(scaled, -_CLIP, _CLIP).astype(np.float32)

    def undo(self, scaled: Array) -> NDArray[np.float64]:
        """Back to the series' own units, for [N, ...]."""
        shape = (-1,) + (1,) * (scaled.ndim - 1)
        return scaled * self.spread.reshape(shape) + self.centre.reshape(shape)


def scale_of(values: NDArray[np.float64], grid: Grid) -> Scale:
    """Median of 3 days, and mean distance from it over 7, of [N, grid.length]. Rows of NaN get 0 and 1."""
    centre = first_known(median(values[:, -3 * grid.day :]), median(values), np.zeros(len(values)))
    distance = np.abs(values - centre[:, None])
    spread = first_known(mean(distance[:, -7 * grid.day :]), mean(distance), np.zeros(len(values)))
    spread = np.maximum(spread, 1e-6 * np.abs(centre))
    return Scale(centre.astype(np.float64), np.where(spread > 0, spread, 1.0).astype(np.float64))


@dataclass(frozen=True)
class Experts:
    """Those whose forecasts are weighed: the cheap members, unless a model brings its own."""

    prior: Array  # [bucket, member]: weights for a series whose history is too short for a backtest
    say: Callable[[Array, int], Array]
    """From the past [N, grid.length] up to an origin so many steps before the end: [N, member, lead]."""


def cheap_members(grid: Grid, leads: NDArray[np.intp]) -> Experts:
    """Those of members.py, forecasting at `leads`."""
    return Experts(_prior(members.names(grid)), lambda past, _: members.forecast(past, grid, leads).values)


@dataclass(frozen=True)
class Hindsight:
    """What the members said at earlier origins, and what came."""

    prior: Array  # [bucket, member]
    said: Array  # [N, origin, member, lead]
    came: Array  # [N, origin, lead]; NaN where nothing was seen, or the origin had too little to go by
    backs: tuple[int, ...]  # steps from the origin to the end of the history
    double: NDArray[np.bool_]  # [origin]: whole days back, which weigh twice: their leads have today's times of day


def backs(grid: Grid) -> tuple[int, ...]:
    """How many steps before the end of the history the origins of the backtest are."""
    every = (grid.day + i * grid.steps(ORIGIN_HOURS) for i in range(ORIGINS))
    return tuple(back for back in every if back < grid.length)


def backtest(values: Array, grid: Grid, leads: NDArray[np.intp], experts: Experts | None = None) -> Hindsight:
    """Forecast from origins a day and more back in `values` [N, grid.length], each from what lies before it."""
    experts = experts or cheap_members(grid, leads)
    furthest = backs(grid)[-1]
    padded = np.concatenate([np.full((len(values), furthest), np.nan, values.dtype), values], 1)
    future = np.full((len(values), int(leads[-1]) + 1), np.nan, values.dtype)
    whole = np.concatenate([values, future], 1)
    said, came = [], []
    for back in backs(grid):
        past = padded[:, furthest - back : padded.shape[1] - back]
        enough = (~np.isnan(past[:, -_SEEN_DAYS * grid.day :])).mean(1) >= _SEEN_SHARE
        # Where nothing was seen yet, nothing is compared either: any number will do.
        said.append(np.nan_to_num(experts.say(past, back)))
        came.append(np.where(enough[:, None], whole[:, grid.length - back + leads], np.nan))
    double = np.array([back % grid.day == 0 for back in backs(grid)])
    heard = np.stack(came, 1).astype(np.float32)
    return Hindsight(experts.prior, np.stack(said, 1), heard, backs(grid), double)


@dataclass(frozen=True)
class Stack:
    """Weights of the members and residual quantiles of their mix."""

    weights: Array  # [N, bucket, member], sum 1
    bands: Array  # [N, band, level of QUANTILE_GRID], for an hour of mean unrest
    unrest: Array  # [N, hour of the day in UTC]: how far residuals reach then, against their mean

    def points(self, said: Array, hours: NDArray[np.float64]) -> Array:
        """The mix of `said` [N, member, lead]."""
        return mix(said, self.weights, hours)

    def quantiles(self, said: Array, hours: NDArray[np.float64], clock: NDArray[np.intp]) -> Array:
        """[N, lead, level of QUANTILE_GRID]; `clock` is the hour of the day in UTC of each lead."""
        spread = np.einsum("lb,nbq->nlq", blend(hours, BAND_HOURS, _BAND_FADE), self.bands)
        found: Array = self.points(said, hours)[..., None] + spread * self.unrest[:, clock, None]
        return found

    def select(self, rows: NDArray[np.intp]) -> Stack:
        """The series at `rows`; -1 gets what is usual among all."""
        weights = np.concatenate([self.weights, self.weights.mean(0, keepdims=True)])
        bands = np.concatenate([self.bands, np.median(self.bands, 0, keepdims=True)])
        unrest = np.concatenate([self.unrest, np.ones((1, 24), np.float32)])
        return Stack(weights[rows], bands[rows], unrest[rows])


@dataclass(frozen=True)
class Evidence:
    """How wrong each member was at earlier origins."""

    prior: Array  # [bucket, member]
    backs: NDArray[np.intp]  # [origin], steps to the end of the history
    losses: Array  # [N, origin, bucket, member]: weighted sums of absolute errors
    mass: Array  # [N, origin, bucket, 1]: sums of the weights

    def weights(self, used: NDArray[np.bool_]) -> Array:
        """Weights [N, bucket, member] by the origins `used` [origin]."""
        losses, mass = self.losses[:, used], self.mass[:, used]
        return _weights(losses.sum(1), mass.sum(1), (mass > 0).sum(1), self.prior)


def fit(values: Array, grid: Grid, leads: NDArray[np.intp], start: float, experts: Experts | None = None) -> Stack:
    """Weights and residual quantiles by a backtest on `values` [N, grid.length]; Unix time `start` comes after them."""
    hindsight = backtest(values, grid, leads, experts)
    hours = grid.hours(leads)
    evidence = _evidence(hindsight, hours)
    residuals = np.empty_like(hindsight.came)
    for origin, back in enumerate(hindsight.backs):
        # Residuals by the weights of all other origins: nearer to what a forecast will meet.
        honest = evidence.weights(evidence.backs != back)
        residuals[:, origin] = hindsight.came[:, origin] - mix(hindsight.said[:, origin], honest, hours)
    clock = np.stack([grid.clock(start - back * grid.step, leads) for back in hindsight.backs])
    unrest = _unrest(residuals, clock)
    residuals /= unrest[:, clock]
    weights = evidence.weights(np.ones(len(hindsight.backs), bool))
    return Stack(weights, residual_bands(values, grid, residuals, hours), unrest)


def mix(said: Array, weights: Array, hours: NDArray[np.float64]) -> Array:
    """`said` [N, member, lead] weighted by `weights` [N, bucket, member]."""
    mixed: Array = np.einsum("nml,lb,nbm->nl", said, blend(hours, BUCKET_HOURS, FADE), weights, optimize=True)
    return mixed


def _unrest(residuals: Array, clock: NDArray[np.intp]) -> Array:
    """Size of `residuals` [N, origin, lead] by hour of the day, against their mean: [N, 24]."""
    size = np.sqrt(np.abs(residuals))  # the root, so that a single outage doesn't own its hour
    seen = ~np.isnan(size)
    size = np.nan_to_num(size)
    total = np.stack([size[:, clock == hour].sum(1) for hour in range(24)], 1)
    count = np.stack([seen[:, clock == hour].sum(1) for hour in range(24)], 1).astype(np.float32)
    typical = total.sum(1, keepdims=True) / np.maximum(count.sum(1, keepdims=True), 1)
    prior = _UNREST_PRIOR * count.mean(1, keepdims=True)
    near = _with_neighbours(total) + prior * typical
    ratio = near / np.maximum(_with_neighbours(count) + prior, 1e-9) / np.maximum(typical, 1e-9)
    return np.where(typical > 0, np.clip(ratio, 0.25, 4) ** _UNREST_POWER, 1).astype(np.float32)


def _with_neighbours(by_hour: Array) -> Array:
    return by_hour / 2 + (np.roll(by_hour, 1, 1) + np.roll(by_hour, -1, 1)) / 4


def blend(hours: NDArray[np.float64], ends: tuple[float, ...], fade: float) -> NDArray[np.float32]:
    """How much each bucket counts at `hours` ahead, [lead, bucket]; buckets fade into one another."""
    edges = np.log(np.array(ends[:-1]))[None, :]
    passed = np.clip((np.log(hours)[:, None] - edges) / (2 * np.log(fade)) + 0.5, 0, 1)
    one = np.ones((len(hours), 1))
    share = np.concatenate([one, passed], 1) * (1 - np.concatenate([passed, 0 * one], 1))
    parts: NDArray[np.float32] = (share / share.sum(1, keepdims=True)).astype(np.float32)
    return parts


def bucket_of(hours: NDArray[np.float64], ends: tuple[float, ...]) -> NDArray[np.intp]:
    """The bucket of each lead time; its end belongs to it."""
    return np.searchsorted(np.array(ends) * (1 + 1e-9), hours).astype(np.intp)


def _evidence(hindsight: Hindsight, hours: NDArray[np.float64]) -> Evidence:
    bucket = bucket_of(hours, BUCKET_HOURS)
    said = hindsight.said
    shape = (*said.shape[:2], len(BUCKET_HOURS), said.shape[2])
    losses, mass = np.zeros(shape, np.float32), np.zeros((*shape[:3], 1), np.float32)
    factor = np.where(hindsight.double, 2.0, 1.0).astype(np.float32)
    for b in range(len(BUCKET_HOURS)):
        inside = np.flatnonzero(bucket == b)
        if not len(inside):
            continue
        came = hindsight.came[:, :, inside]
        seen = (~np.isnan(came)).astype(np.float32)
        error = np.abs(said[..., inside] - np.nan_to_num(came)[:, :, None])
        weight = factor / len(inside)
        mass[:, :, b, 0] = seen.sum(2) * weight
        losses[:, :, b] = np.einsum("nomh,noh->nom", error, seen) * weight[:, None]
    return Evidence(hindsight.prior, np.array(hindsight.backs), losses, mass)


def _weights(losses: Array, mass: Array, origins: NDArray[np.intp], prior: Array) -> Array:
    """Weights [N, bucket, member] of summed losses; towards the prior while there are fewer than 4 origins."""
    loss = losses / np.maximum(mass, 1e-9)
    best = loss.min(-1, keepdims=True)
    # A perfect member would divide by zero; 1e-4 of the spread is perfect enough.
    power = ((loss + 1e-4) / (best + 1e-4)) ** -_POWER
    learned = power / power.sum(-1, keepdims=True)
    trust = np.minimum(origins / _ENOUGH_ORIGINS, 1.0)
    weights = trust * learned + (1 - trust) * prior
    for b in range(1, weights.shape[1]):  # a bucket that no origin reached follows the one before it
        follows = (origins[:, b] == 0) & (origins[:, b - 1] > 0)
        weights[:, b] = np.where(follows, weights[:, b - 1], weights[:, b])
    found: Array = weights.astype(np.float32)
    return found


def _prior(names: tuple[str, ...]) -> Array:
    table = _PRIOR if "tod_hour" in names else _PRIOR_WITHOUT_DAYS
    return np.array([[row.get(name, 0.0) for name in names] for row in table], np.float32)


def residual_bands(values: Array, grid: Grid, residuals: Array, hours: NDArray[np.float64]) -> Array:
    """Residual quantiles per band; from differences of the series while there are fewer than 4 origins."""
    band = bucket_of(hours, BAND_HOURS)
    bands = _difference_bands(values, grid)
    for b in range(len(BAND_HOURS)):
        inside = residuals[:, :, band == b]
        origins = (~np.isnan(inside)).any(2).sum(1)
        if not origins.any():
            continue
        measured = quantiles(inside.reshape(len(values), -1), QUANTILE_GRID)
        trust = np.minimum(origins / _ENOUGH_ORIGINS, 1.0)[:, None]
        bands[:, b] = trust * np.nan_to_num(measured) + (1 - trust) * bands[:, b]
    return bands


def _difference_bands(values: Array, grid: Grid) -> Array:
    """Quantiles of +-differences of the series at each band's middle lead, a little narrowed."""
    ends = np.array(BAND_HOURS)
    ends[-1] = 2 * ends[-2]
    middles = (ends + np.concatenate([[0.0], ends[:-1]])) / 2
    levels = np.abs(2 * QUANTILE_GRID - 1)
    sign = np.sign(QUANTILE_GRID - 0.5)
    bands = np.zeros((len(values), len(ends), len(QUANTILE_GRID)), np.float32)
    last: Array = np.zeros((len(values), len(QUANTILE_GRID)), np.float32)
    last_lag = np.ones(len(values))
    for b, hours in enumerate(middles):
        lag = grid.steps(hours)
        change = np.abs(values[:, lag:] - values[:, :-lag])
        known = (~np.isnan(change)).sum(1) >= _FEWEST_CHANGES
        grown = np.minimum(np.sqrt(lag / last_lag), _MOST_GROWTH)[:, None]
        found = _NARROWED * sign * quantiles(change, levels)
        bands[:, b] = np.where(known[:, None], found, last * grown)
        last = np.where(known[:, None], found, last)
        last_lag = np.where(known, lag, last_lag)
    return bands
