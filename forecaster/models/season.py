"""A smooth day and week, fitted by ridge regression to many series at once, each with its own gaps.

The design is shared: for all series together the normal equations are one matrix product of what each has seen with
the products of the design's columns. They are summed day by day, so that the season as it was known on every earlier
day costs no further pass, only to solve for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecaster.models.grid import DAY_SECONDS, Grid
from forecaster.models.robust import Array, mean

Floats = NDArray[np.float64]

KINDS = ("level", "day", "week")
"""Seasons that are fitted beside each other: none, a day, a day and a week. Which to trust is for a backtest to say."""

_TERMS = {"day": 10, "week": 3}
_LEAST_DAYS = {"level": 0.0, "day": 1.5, "week": 8.0}
"""Observed days below which a kind is the one before it: two Sundays at most are seen in two weeks, one is too few."""
_PIECE_SECONDS = 1800.0
_HALF_LIFE_DAYS = 14.0
_SMOOTH = 0.002
"""Penalty of a term, relative to the number of observations and times its order squared."""


@dataclass(frozen=True)
class Basis:
    """Fourier terms of the day and the week: a constant, the sines and cosines of the day, then those of the week."""

    daily: int
    weekly: int

    def size(self, kind: str) -> int:
        """How many columns, from the first on, a season of `kind` has."""
        terms = {"level": 0, "day": self.daily, "week": self.daily + self.weekly}
        return 1 + 2 * terms[kind]

    def at(self, times: Array) -> Floats:
        """[time, column] at Unix times."""
        day = 2 * np.pi * (times / DAY_SECONDS)[:, None]
        daily, weekly = day * np.arange(1, self.daily + 1), day / 7 * np.arange(1, self.weekly + 1)
        columns = [np.sin(daily), np.cos(daily), np.sin(weekly), np.cos(weekly)]
        return np.concatenate([np.ones((len(times), 1)), *columns], 1)

    @property
    def orders(self) -> Floats:
        """[column]: cycles per day or week."""
        daily, weekly = np.arange(1.0, self.daily + 1), np.arange(1.0, self.weekly + 1)
        return np.concatenate([[0.0], daily, daily, weekly, weekly])


def basis_of(grid: Grid) -> Basis:
    """The terms that steps of this grid can show: at least two and a bit steps a cycle."""
    day = DAY_SECONDS / grid.step
    return Basis(
        *(min(_TERMS[kind], max(0, int((cycle - 1) // 2))) for kind, cycle in (("day", day), ("week", 7 * day)))
    )


def day_before(grid: Grid, back: int) -> int:
    """Which of the seasons that `fit` gives was known `back` steps before the end of the history."""
    return -(-back // _day(grid))


def fit(values: Array, grid: Grid, start: float, days_back: int) -> Floats:
    """Coefficients [N, 1 + days_back, kind, column]: as known at the end of `values` [N, time], a day before that...

    Unix time `start` comes after the last column. A column that a kind doesn't have is 0, and so is every season of
    a series of which nothing was seen.
    """
    basis = basis_of(grid)
    piece, per_day = _piece(grid), _day(grid) // _piece(grid)
    days = values.shape[1] // (per_day * piece)
    coarse = mean(values[:, -days * per_day * piece :].reshape(len(values), days, per_day, piece)).transpose(1, 0, 2)
    middles = start - grid.step * (piece * np.arange(days * per_day, 0, -1) - (piece - 1) / 2)
    design = basis.at(middles).reshape(days, per_day, -1)
    seen = (~np.isnan(coarse)).astype(np.float64)
    first, second = np.triu_indices(design.shape[2])
    gram = _faded(seen @ (design[..., first] * design[..., second]))
    moment = _faded(np.nan_to_num(coarse).astype(np.float64) @ design)
    observed = np.cumsum(seen.sum(2), 0) / per_day
    kept = np.maximum(np.arange(days - 1, days - 2 - days_back, -1), 0)
    square = np.empty((len(kept), len(values), design.shape[2], design.shape[2]))
    square[..., first, second] = square[..., second, first] = gram[kept]
    return _solved(square, moment[kept], observed[kept], basis).transpose(1, 0, 2, 3)


def _piece(grid: Grid) -> int:
    """Steps that are averaged before fitting."""
    return max(1, round(_PIECE_SECONDS / grid.step))


def _day(grid: Grid) -> int:
    """Steps of a day in whole pieces."""
    return max(1, grid.day // _piece(grid)) * _piece(grid)


def _faded(by_day: Floats) -> Floats:
    """Sums over the days up to each, in which older ones count less."""
    fade = 0.5 ** (1 / _HALF_LIFE_DAYS)
    for day in range(1, len(by_day)):
        by_day[day] += fade * by_day[day - 1]
    return by_day


def _solved(square: Floats, moment: Floats, observed: Floats, basis: Basis) -> Floats:
    """[day, N, kind, column] of the normal equations `square` [day, N, column, column] and `moment`."""
    diagonal = np.arange(square.shape[-1])
    square[..., diagonal, diagonal] += _SMOOTH * square[..., 0, :1] * basis.orders**2 + 1e-6  # solvable if all is gap
    found = np.zeros((*moment.shape[:2], len(KINDS), moment.shape[2]))
    for k, kind in enumerate(KINDS):
        size = basis.size(kind)
        found[:, :, k, :size] = np.linalg.solve(square[..., :size, :size], moment[..., :size, None])[..., 0]
        few = observed < _LEAST_DAYS[kind]
        found[few, k] = found[few, max(k - 1, 0)]
    return found
