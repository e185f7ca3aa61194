"""Traits: what a series is like, in facts that are measured on its history."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from forecaster.backtest import Floats, Window
from forecaster.frame import Frame
from forecaster.models import robust
from forecaster.models.grid import Grid

_AT_ONCE = 100
_LATEST_HOURS = 6.0
_FREEDOM = 1 / 3
"""A shape is told from chance only where its times of day (of week) have been seen 1.5 times on average."""
_LOOKED_AT, _SLOWEST, _ALMOST_ALL, _ENOUGH = 2000, 60, 0.95, 10


@dataclass(frozen=True)
class Traits:
    """One figure a series; NaN where too little is known to tell."""

    span: Floats  # seconds from the first to the last observation, both included
    gaps: Floats  # share missing in between
    constant: NDArray[np.bool_]
    daily: Floats  # share of variance that the time of day explains, 0 to 1
    weekly: Floats  # share that the day of the week explains beyond it
    memory: Floats  # correlation of each step with the one before
    changes_every: NDArray[np.intp]  # steps: 1, or more where values only change at every so many


def describe(frame: Frame) -> Traits:
    """The traits of each series."""
    parts = [_described(part) for part in frame.parts(_AT_ONCE)]
    return Traits(*(np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(Traits)))


def shifts(frame: Frame, history: int, window: Window) -> Floats:
    """How far the level of each series moved after the window's origin, in units of its 10-90 % range before.

    The level is the median distance from the usual (the median at that time of day in the `history` columns before):
    over the window, less that over the last hours before it, which every model has seen.
    """
    past = frame.values[:, max(0, window.origin - history) : window.origin]
    grid = Grid(frame.step)
    days = np.pad(past, ((0, 0), (-past.shape[1] % grid.day, 0)), constant_values=np.nan)
    usual = robust.median(days.reshape(len(past), -1, grid.day).transpose(0, 2, 1))
    latest = min(grid.steps(_LATEST_HOURS), past.shape[1])
    before = past[:, -latest:] - usual[:, np.arange(-latest, 0) % grid.day]
    after = window.actual - usual[:, np.arange(window.actual.shape[1]) % grid.day]
    low, high = robust.quantiles(past, (0.1, 0.9)).T
    moved = robust.median(after) - robust.median(before)
    return (moved / np.where(high > low, high - low, np.nan)).astype(np.float64)


def explained(values: Floats, period: int) -> Floats:
    """Share of variance that the phase within `period` columns explains: R², adjusted for the number of phases."""
    phase = np.arange(values.shape[1]) % period
    means = _profile(values, phase, period)
    count = (~np.isnan(values)).sum(1)
    free = count - (~np.isnan(means)).sum(1)
    total = np.nansum((values - _mean(values)[:, None]) ** 2, 1)
    rest = np.nansum((values - means[:, phase]) ** 2, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = 1 - (rest / free) / (total / (count - 1))
    return np.where((free >= _FREEDOM * count) & (total > 0), np.clip(share, 0, 1), np.nan)


def _described(frame: Frame) -> Traits:
    values, grid = frame.values, Grid(frame.step)
    seen = ~np.isnan(values)
    some = seen.any(1)
    first, last = seen.argmax(1), values.shape[1] - 1 - seen[:, ::-1].argmax(1)
    columns = np.where(some, last - first + 1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        gaps = 1 - seen.sum(1) / columns
    low, high = (
        np.where(seen, values, np.inf).min(1, initial=np.inf),
        np.where(seen, values, -np.inf).max(1, initial=-np.inf),
    )
    unknown = np.full(len(values), np.nan)
    daily = explained(values, grid.day) if grid.daily and grid.day > 1 else unknown
    weekly = _weekly(values, grid.day, daily) if grid.daily and values.shape[1] > 7 * grid.day else unknown
    return Traits(
        span=np.where(some, columns * frame.step, np.nan),
        gaps=gaps,
        constant=some & (low == high),
        daily=daily,
        weekly=weekly,
        memory=_correlation(values, 1),
        changes_every=np.array([_rhythm(row) for row in values[:, -_LOOKED_AT:]], np.intp),
    )


def _profile(values: Floats, phase: NDArray[np.intp], period: int) -> Floats:
    """Mean by phase, [series, phase]; NaN for a phase that was never seen."""
    cells = np.arange(len(values))[:, None] * period + phase
    known = ~np.isnan(values)
    size = len(values) * period
    count = np.bincount(cells[known], minlength=size)
    total = np.bincount(cells[known], values[known], minlength=size)
    means: Floats = (total / np.where(count > 0, count, np.nan)).reshape(len(values), period)
    return means


def _correlation(values: Floats, back: int) -> Floats:
    """Of each column with the one `back` columns before; NaN where no two are known."""
    both = ~np.isnan(values[:, back:]) & ~np.isnan(values[:, : values.shape[1] - back])
    now, before = (np.where(both, side, np.nan) for side in (values[:, back:], values[:, : values.shape[1] - back]))
    now, before = now - _mean(now)[:, None], before - _mean(before)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = np.nansum(now * before, 1) / np.sqrt(np.nansum(now**2, 1) * np.nansum(before**2, 1))
    return found


def _weekly(values: Floats, day: int, daily: Floats) -> Floats:
    """Beyond `daily`; 0 where last week is no more like this one than yesterday is: then it's a level that wanders."""
    more = np.maximum(explained(values, 7 * day) - np.nan_to_num(daily), 0)
    return np.where(_correlation(values, 7 * day) > _correlation(values, day), more, more * 0)


def _rhythm(row: Floats) -> int:
    """The most steps of which almost all times between two changes are multiples."""
    known = np.flatnonzero(~np.isnan(row))
    changes = known[1:][np.diff(row[known]) != 0]
    between = np.diff(changes)
    if len(between) < _ENOUGH:
        return 1
    return next((k for k in range(_SLOWEST, 1, -1) if (between % k == 0).mean() >= _ALMOST_ALL), 1)


def _mean(values: Floats) -> Floats:
    count = (~np.isnan(values)).sum(1)
    mean: Floats = np.nansum(values, 1) / np.where(count > 0, count, np.nan)
    return mean
