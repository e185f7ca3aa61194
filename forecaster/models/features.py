"""What the networks see: what the stack and its members say at each lead, the last week as a sequence, and traits.

The same in training and in prediction; everything is scaled by what lies before the origin, so that a network that was
trained on other people's series fits anyone's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecaster.model import QUANTILE_GRID
from forecaster.models import members
from forecaster.models.grid import DAYS, Grid
from forecaster.models.robust import Array, first_known, mean, median, quantiles
from forecaster.models.stack import BUCKET_HOURS, FADE, Stack, blend

SEQUENCE, SEQUENCE_HOURS, CHANNELS = 84, 2.0, 4
"""The last week in pieces of two hours; mean, highest, lowest and share missing of each."""
MIDDLE = len(QUANTILE_GRID) // 2

_INNER = (2, 4, 8, 10)  # of QUANTILE_GRID: 0.1, 0.3, 0.7, 0.9
_NARROWEST = np.float32(0.01)
_TIME_OF_DAY_LEVELS, _TIME_OF_DAY_HOURS, _TIME_OF_DAY_DAYS = (0.1, 0.25, 0.5, 0.75, 0.9), 0.25, 7
_CHANGE_HOURS = (0.0, 0.25, 1, 3, 6, 24, 48, 168)
_RECENT_HOURS = (0.25, 1, 3, 6)
_SPREAD_HOURS, _SPREAD_LEVELS = (1, 3, 24, 168), (0.05, 0.25, 0.75, 0.95)
_MOST_TRAIT = 10.0
TRAITS = len(_CHANGE_HOURS) + 2 + 2 + 1 + 1 + len(_RECENT_HOURS) + 1 + len(_SPREAD_HOURS) * len(_SPREAD_LEVELS) + 1


@dataclass(frozen=True)
class Basis:
    """The stack's forecast of W series at L leads, taken apart; float32. What a network corrects."""

    stack: Array  # [W, L, level of QUANTILE_GRID], in units of the scale
    width: Array  # [W, L, 1]: from level 0.1 to 0.9, how sure the stack is there
    anchors: Array  # [W, L, member]: the members from the stack's median, in widths
    prior: Array  # [W, L, member]: the stack's weights of them, sum 1

    def at(self, places: NDArray[np.intp]) -> Basis:
        """The same at some of the leads."""
        return Basis(*(part[:, places] for part in (self.stack, self.width, self.anchors, self.prior)))


@dataclass(frozen=True)
class Inputs:
    """What a network reads of W series at L leads; float32."""

    sequence: Array  # [W, SEQUENCE, CHANNELS], oldest first
    traits: Array  # [W, TRAITS]
    steps: Array  # [W, L, step_features]


def step_features(grid: Grid) -> int:
    """Features per lead."""
    return 2 * len(members.names(grid)) + len(_INNER) + len(_TIME_OF_DAY_LEVELS) + 6


def basis(scaled: Array, grid: Grid, leads: NDArray[np.intp], start: float, stack: Stack) -> Basis:
    """What the stack says for the leads after `scaled` [W, grid.length], the first of them at Unix time `start`."""
    hours = grid.hours(leads)
    said = members.forecast(scaled, grid, leads).values
    found = stack.quantiles(said, hours, grid.clock(start, leads)).astype(np.float32)
    width = np.maximum(found[..., _INNER[-1], None] - found[..., _INNER[0], None], _NARROWEST)
    anchors = (said.transpose(0, 2, 1) - found[..., MIDDLE, None]) / width
    prior = np.einsum("lb,nbm->nlm", blend(hours, BUCKET_HOURS, FADE), stack.weights)
    return Basis(found, width, anchors.astype(np.float32), prior.astype(np.float32))


def inputs(scaled: Array, grid: Grid, leads: NDArray[np.intp], start: float, stack: Stack, given: Basis) -> Inputs:
    """Inputs for the same leads as those of `given`."""
    hours = grid.hours(leads)
    middle = given.stack[..., MIDDLE, None]
    usual = _time_of_day_quantiles(scaled, grid, leads)
    reach = np.minimum(hours, 24.0)  # the networks have seen no more than a day
    shared = np.stack([np.log(reach) / 3, np.exp(-reach), np.exp(-reach / 6)], -1)
    steps = [
        np.arcsinh(given.anchors),
        np.log(given.prior + 1e-4) / 9,
        (given.stack[..., _INNER] - middle) / given.width,
        np.arcsinh((usual - middle) / given.width),
        np.arcsinh(middle),
        np.log(stack.unrest[:, grid.clock(start, leads)])[..., None],
        np.log(given.width),
        np.broadcast_to(shared, (len(scaled), *shared.shape)),
    ]
    return Inputs(_sequence(scaled, grid), _traits(scaled, grid), np.concatenate(steps, -1).astype(np.float32))


def _time_of_day_quantiles(scaled: Array, grid: Grid, leads: NDArray[np.intp]) -> Array:
    """Quantiles around each lead's time of day over the last week, [W, L, level]."""
    days = scaled.reshape(len(scaled), DAYS, grid.day)[:, -_TIME_OF_DAY_DAYS:]
    reach = int(_TIME_OF_DAY_HOURS * 3600 / grid.step)
    around = np.unique(np.linspace(-reach, reach, 5).round().astype(np.intp))
    near = days[:, :, (leads[:, None] % grid.day + around) % grid.day]
    found = quantiles(near.transpose(0, 2, 1, 3).reshape(len(scaled), len(leads), -1), _TIME_OF_DAY_LEVELS)
    day = quantiles(scaled[:, -grid.day :], _TIME_OF_DAY_LEVELS)[:, None]
    every = quantiles(scaled, _TIME_OF_DAY_LEVELS)[:, None]
    return np.nan_to_num(first_known(found, day, every))


def _sequence(scaled: Array, grid: Grid) -> Array:
    """Pieces of two hours; a coarser step repeats itself in as many pieces as it lasts."""
    piece = grid.steps(SEQUENCE_HOURS)
    pieces = min(SEQUENCE, scaled.shape[1] // piece)
    cut = scaled[:, -pieces * piece :].reshape(len(scaled), pieces, piece)
    missing = np.isnan(cut).mean(-1)
    level = np.nan_to_num(mean(cut))
    highest = np.where(missing < 1, np.where(np.isnan(cut), -np.inf, cut).max(-1), 0)
    lowest = np.where(missing < 1, np.where(np.isnan(cut), np.inf, cut).min(-1), 0)
    found = np.stack([np.arcsinh(level), np.arcsinh(highest), np.arcsinh(lowest), missing], -1)
    padded = np.zeros((len(scaled), SEQUENCE, CHANNELS), np.float32)
    padded[:, :, -1] = 1.0
    padded[:, -pieces:] = found
    return padded


def _traits(scaled: Array, grid: Grid) -> Array:
    """Unrest at several lags, how full the history is, where it lies now, how it is spread, how daily it is."""
    seen = ~np.isnan(scaled)
    lowest = np.min(scaled, axis=1, initial=np.inf, where=seen)
    day = np.nan_to_num(median(scaled[:, -grid.day :]))
    found = [
        *(_unrest(scaled, grid.steps(hours), 3 * grid.day) for hours in _CHANGE_HOURS),
        _unrest(scaled, 1, grid.steps(1)),
        _unrest(scaled, 1, grid.day),
        seen.mean(1),
        seen[:, -grid.day :].mean(1),
        (seen & (scaled <= lowest[:, None] + 1e-3)).mean(1),
        np.arcsinh(day),
    ]
    for hours in _RECENT_HOURS:
        recent = median(scaled[:, -grid.steps(hours) :])
        found.append(np.arcsinh(np.nan_to_num(first_known(recent, day) - day)))
    newest = [scaled[:, -back] for back in range(1, min(7, scaled.shape[1]))]
    found.append(np.arcsinh(first_known(*newest, day) - day))
    every = quantiles(scaled, _SPREAD_LEVELS)
    for hours in _SPREAD_HOURS:
        spread = first_known(quantiles(scaled[:, -grid.steps(hours) :], _SPREAD_LEVELS), every)
        found += list(np.arcsinh(np.nan_to_num(spread) - day[:, None]).T)
    found.append(_restlessness(scaled, grid))
    return np.asarray(np.clip(np.stack(found, -1), -_MOST_TRAIT, _MOST_TRAIT), np.float32)


def _unrest(scaled: Array, lag: int, span: int) -> Array:
    """Log of the mean change over `lag` steps within the last `span`."""
    change = np.abs(scaled[:, lag:] - scaled[:, :-lag])[:, -span:]
    return np.asarray(np.log(np.nan_to_num(mean(change), nan=1.0) + 0.01), np.float32)


def _restlessness(scaled: Array, grid: Grid) -> Array:
    """Mean distance from the last week's time-of-day median over that from its median: 0 repeats itself each day."""
    week = scaled.reshape(len(scaled), DAYS, grid.day)[:, -7:]
    usual = median(np.ascontiguousarray(week.transpose(0, 2, 1)))
    rest = mean(np.abs(week - usual[:, None]).reshape(len(scaled), -1))
    flat = week.reshape(len(scaled), -1)
    whole = mean(np.abs(flat - median(flat)[:, None]))
    restlessness: Array = np.nan_to_num(rest / np.maximum(whole, 1e-6), nan=1.0)
    return restlessness
