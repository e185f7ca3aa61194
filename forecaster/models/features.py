"""What the network sees: the stack and its members at each lead, the last week as a sequence, and traits of the series.

The same in training and in prediction; everything is scaled by what lies before the origin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecaster.model import QUANTILE_GRID
from forecaster.models import members
from forecaster.models.grid import Grid
from forecaster.models.robust import Array, mean, median
from forecaster.models.stack import Scale, Stack, scale_of

SEQUENCE, SEQUENCE_HOURS, CHANNELS = 84, 2.0, 4
"""The last week in pieces of two hours; mean, highest, lowest and share missing of each."""
TRAITS = 8
_EXTRA = 6
_LEVELS = (2, 4, 8, 10)  # of QUANTILE_GRID: 0.1, 0.3, 0.7, 0.9


@dataclass(frozen=True)
class Inputs:
    """For W series at L leads; float32, in units of `scale`."""

    scale: Scale
    sequence: Array  # [W, SEQUENCE, CHANNELS], oldest first
    traits: Array  # [W, TRAITS]
    steps: Array  # [W, L, step_features]
    stack: Array  # [W, L, level of QUANTILE_GRID]


def step_features(grid: Grid) -> int:
    """Features per lead."""
    return len(members.names(grid)) + len(_LEVELS) + _EXTRA


def inputs(values: NDArray[np.float64], grid: Grid, leads: NDArray[np.intp], start: float, stack: Stack) -> Inputs:
    """Inputs for the leads after `values` [W, grid.length], the first of them at Unix time `start`."""
    scale = scale_of(values, grid)
    scaled = scale.apply(values)
    hours = grid.hours(leads)
    clock = grid.clock(start, leads)
    said = members.forecast(scaled, grid, leads).values
    bands = stack.quantiles(said, hours, clock)
    middle = bands[:, :, len(QUANTILE_GRID) // 2]
    reach = np.minimum(hours, 24.0)  # the network has seen no more than a day
    shared = np.stack([np.log(reach) / 3, np.exp(-reach), np.exp(-reach / 6)], -1)
    reaches = width(bands)
    steps = np.concatenate(
        [
            np.arcsinh((said.transpose(0, 2, 1) - middle[:, :, None]) / reaches),
            (bands[:, :, _LEVELS] - middle[:, :, None]) / reaches,
            np.arcsinh(middle)[:, :, None],
            np.log(stack.unrest[:, clock])[:, :, None],
            np.log(reaches),
            np.broadcast_to(shared, (len(values), *shared.shape)),
        ],
        -1,
    )
    sequence = _sequence(scaled, grid)
    return Inputs(scale, sequence, _traits(scaled, grid), steps.astype(np.float32), bands)


def width(stack: Array) -> Array:
    """From level 0.1 to 0.9 of quantiles [..., level of QUANTILE_GRID], [..., 1]: how sure the stack is there."""
    return np.maximum(stack[..., _LEVELS[-1], None] - stack[..., _LEVELS[0], None], np.float32(0.01))


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
    """Unrest at several lags, how full the history is, how it is spread."""
    found = []
    for lag in (1, grid.steps(1), grid.steps(6), grid.day, 7 * grid.day):
        change = np.abs(scaled[:, lag:] - scaled[:, :-lag])
        found.append(np.log(np.nan_to_num(mean(change[:, -3 * grid.day :]), nan=1.0) + 0.01))
    seen = ~np.isnan(scaled)
    found.append(seen.mean(1))
    lowest = np.min(scaled, axis=1, initial=np.inf, where=seen)
    found.append((seen & (scaled <= lowest[:, None] + 1e-3)).mean(1))
    found.append(np.arcsinh(np.nan_to_num(median(scaled[:, -grid.steps(1) :]) - median(scaled[:, -grid.day :]))))
    return np.stack(found, -1).astype(np.float32)
