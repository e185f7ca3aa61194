"""The cheap members: some 25 ways to say what comes next, each one line of arithmetic, for many series at once.

None is good everywhere; a backtest weighs them (stack.py). Here is only what they forecast.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecaster.models.grid import DAYS, Grid
from forecaster.models.robust import Array, first_known, mean, median, smooth

Leads = NDArray[np.intp]

_SHORTEST_PERIOD_HOURS, _LONGEST_PERIOD_HOURS, _PERIOD_DAYS = 0.5, 48.0, 4
_DECAY_HOURS = 6.0
_FORGET = np.float32(0.7)
"""Weight of a day against the one after it, in the exponential mean."""


@dataclass(frozen=True)
class Members:
    """What the members say: `values[i, m, h]` for series i, member `names[m]`, lead `leads[h]`; no NaN but in rows
    that have no value at all."""

    names: tuple[str, ...]
    values: Array


def names(grid: Grid) -> tuple[str, ...]:
    """The members on this grid, in the order of `Members.values`."""
    return _DAILY_NAMES + _LEVEL_NAMES if grid.daily else _LEVEL_NAMES


_DAILY_NAMES = (
    "lag_1d",
    "lag_7d",
    "tod_median",
    "tod_mean",
    "tod_exponential",
    "lags_7d_14d",
    "tod_median_14d",
    "lag_1d_smooth",
    "tod_median_smooth",
    "hold_lag_change",
    "hold_tod_change",
    "tod_hour",
    "tod_6h",
    "tod_day",
    "tod_median_3d",
    "four_lags",
    "middle",
)
_LEVEL_NAMES = (
    "hold_1h",
    "hold_6h",
    "hold_1d",
    "hold_3d",
    "phase_1h",
    "phase_6h",
    "phase_12h",
    "period",
)


def forecast(values: Array, grid: Grid, leads: Leads) -> Members:
    """Forecasts at `leads` steps after the last column of `values` [N, grid.length]."""
    levels = _level_members(values, grid, leads)
    if not grid.daily:
        return Members(_LEVEL_NAMES, np.stack([levels[name] for name in _LEVEL_NAMES], 1))
    daily = _daily_members(values, grid, leads, levels)
    every = {**daily, **levels}
    order = names(grid)
    return Members(order, np.stack([every[name] for name in order], 1))


def _level_members(values: Array, grid: Grid, leads: Leads) -> dict[str, Array]:
    """Members that know no time of day: recent levels, and periods found in or given to the series."""
    overall = median(values)
    levels: dict[str, Array] = {}
    day = first_known(median(values[:, -grid.day :]), median(values[:, -3 * grid.day :]), overall)
    spans = (("hold_1h", grid.steps(1)), ("hold_6h", grid.steps(6)), ("hold_3d", 3 * grid.day))
    for name, span in spans:
        levels[name] = first_known(median(values[:, -span:]), day)
    levels["hold_1d"] = day
    found = {name: np.repeat(level[:, None], len(leads), 1) for name, level in levels.items()}
    for name, hours, days in (("phase_1h", 1, 1), ("phase_6h", 6, 3), ("phase_12h", 12, 4)):
        found[name] = first_known(_phase_median(values, grid.steps(hours), days * grid.day, leads), found["hold_1d"])
    found["period"] = first_known(_period_median(values, grid, leads), found["hold_1d"])
    return found


def _daily_members(values: Array, grid: Grid, leads: Leads, levels: dict[str, Array]) -> dict[str, Array]:
    """Members made of the same time of day on earlier days, with and without a correction of their level."""
    rows = len(values)
    day, hour = grid.day, grid.steps(1)
    days = values.reshape(rows, DAYS, day)
    by_time = np.ascontiguousarray(days.transpose(0, 2, 1))  # [N, time of day, day]; column h has lead h's time
    fallback = levels["hold_1d"][:, :1]
    week = first_known(median(by_time[:, :, -7:]), fallback)
    before = first_known(median(by_time[:, :, -8:-1]), week)  # without the last day, to measure that against
    at = leads % day
    ahead = np.minimum(leads // day, 6)  # beyond a week, its last day stands for all
    profile = week[:, at]

    def lag(back: int) -> Array:
        """The value `back` days before each lead, or the nearest multiple of that which is already past."""
        row = DAYS - back + (ahead % back if back > 1 else 0)
        return first_known(days[:, row, at], profile)

    gathered = by_time[:, at]  # [N, lead, day]
    lags = {back: lag(back) for back in (1, 2, 7, 14)}
    found = {
        "lag_1d": lags[1],
        "lag_7d": lags[7],
        "tod_median": profile,
        "tod_mean": first_known(mean(gathered[:, :, -7:]), fallback),
        "tod_exponential": first_known(_exponential_mean(gathered[:, :, -7:]), fallback),
        "lags_7d_14d": (lags[7] + lags[14]) / 2,
        "tod_median_14d": first_known(median(gathered), fallback),
        "lag_1d_smooth": first_known(_around_day(days[:, -1], round(hour / 4))[:, at], profile),
        "tod_median_smooth": _around_day(week, round(hour / 2))[:, at],
        "tod_median_3d": first_known(median(gathered[:, :, -3:]), profile),
        "four_lags": median(np.stack([lags[back] for back in (1, 2, 7, 14)], -1)),
    }
    last_hour = levels["hold_1h"][:, :1]
    yesterday = first_known(median(days[:, -2, -hour:]), median(week[:, -hour:]))[:, None]
    found["hold_lag_change"] = last_hour + lags[1] - yesterday
    found["hold_tod_change"] = last_hour + before[:, at] - median(before[:, -hour:])[:, None]
    residual = values[:, -day:] - before
    decay = np.exp(-grid.hours(leads) / _DECAY_HOURS).astype(np.float32)
    for name, span, weight in (("tod_hour", hour, decay), ("tod_6h", grid.steps(6), 1), ("tod_day", day, 1)):
        level = first_known(median(residual[:, -span:]), median(residual), np.zeros(rows, np.float32))
        found[name] = profile + level[:, None] * weight
    basis = [found[name] for name in _DAILY_NAMES[:14]] + [levels[name] for name in _LEVEL_NAMES[:4]]
    found["middle"] = median(np.stack(basis, -1))
    return found


def _exponential_mean(by_day: Array) -> Array:
    weight = _FORGET ** np.arange(by_day.shape[-1] - 1, -1, -1, dtype=np.float32)
    seen = ~np.isnan(by_day)
    mass = (seen * weight).sum(-1)
    total = np.where(seen, by_day * weight, 0).sum(-1)
    return np.where(mass > 0, total / np.maximum(mass, 1e-9), np.nan).astype(np.float32)


def _around_day(profile: Array, reach: int) -> Array:
    """Smoothed over the time of day, which has no ends."""
    if reach < 1 or profile.shape[-1] <= 2 * reach:
        return profile
    wrapped = np.concatenate([profile[:, -reach:], profile, profile[:, :reach]], 1)
    return smooth(wrapped, reach)[:, reach:-reach]


def _phase_median(values: Array, period: int, span: int, leads: Leads) -> Array:
    cycles = max(1, min(span, values.shape[1]) // period)
    folded = values[:, -cycles * period :].reshape(len(values), cycles, period)
    by_phase = median(np.ascontiguousarray(folded.transpose(0, 2, 1)))
    return by_phase[:, leads % by_phase.shape[1]]


def _period_median(values: Array, grid: Grid, leads: Leads) -> Array:
    """Median of the last three cycles of each series' own strongest period; NaN where it has none."""
    period = _strongest_period(values, grid)
    phase = leads[None, :] % np.maximum(period, 1)[:, None]
    length = values.shape[1]
    cycles = [length + phase - k * period[:, None] for k in (1, 2, 3)]
    rows = np.arange(len(values))[:, None]
    past = np.stack([values[rows, np.clip(index, 0, length - 1)] for index in cycles], -1)
    return np.where(period[:, None] > 0, median(past), np.float32(np.nan))


def _strongest_period(values: Array, grid: Grid) -> NDArray[np.intp]:
    """The lag of the highest local maximum of the autocorrelation, a day left out, in steps; 0 if there is none."""
    block = max(1, grid.steps(1) // 12)  # 5 min are fine enough to find it
    span = min(_PERIOD_DAYS * grid.day, values.shape[1]) // block * block
    coarse = mean(values[:, -span:].reshape(len(values), -1, block))
    seen = ~np.isnan(coarse)
    centred = np.where(seen, coarse - np.nan_to_num(mean(coarse))[:, None], 0)
    length = coarse.shape[1]
    spectrum = np.fft.rfft(centred, 2 * length)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2, axis=1)[:, :length]
    first = max(2, round(_SHORTEST_PERIOD_HOURS * 3600 / grid.step / block))
    last = min(round(_LONGEST_PERIOD_HOURS * 3600 / grid.step / block), length - 2)
    if last <= first:
        return np.zeros(len(values), np.intp)
    inner = correlation[:, first : last + 1]
    peak = (inner >= correlation[:, first - 1 : last]) & (inner > correlation[:, first + 1 : last + 2])
    peak &= inner > 0.1 * correlation[:, :1]
    lags = np.arange(first, last + 1) * block
    peak &= np.abs(lags - grid.day) > grid.steps(1)
    best = np.where(peak, inner, -np.inf)
    place = best.argmax(1)
    return np.where(peak.any(1), lags[place], 0).astype(np.intp)
