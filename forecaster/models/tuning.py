"""Tuning: what a shipped network learns from weeks of the very series that it is to forecast.

Two weeks teach nothing that carries over; the gain begins where there are whole histories to look back from.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cloudpulse import logs
from forecaster.frame import Frame
from forecaster.model import QUANTILE_GRID
from forecaster.models import network
from forecaster.models.features import Basis, Inputs
from forecaster.models.grid import DAYS, Grid
from forecaster.models.lesson import MOST_WEIGHT, SOON, Lesson, joined, lesson, some_leads
from forecaster.models.network import Parameters

LEAST_EXTRA_DAYS = 7
"""Days beyond a whole history that there must be to learn from."""

_MOST_WINDOWS, _WINDOWS_A_DAY, _AT_ONCE, _HELD_SHARE = 2400, 48, 32, 0.25
_BATCHES, _RATE = 300, 1e-3
_LEAST_GAIN = 0.01
_SEED = 7

log = logs.get(__name__)


def enough(history: Frame) -> bool:
    """Whether `history` is long enough to tune by."""
    return history.length >= (DAYS + LEAST_EXTRA_DAYS) * Grid(history.step).day


def tuned(shipped: Parameters, history: Frame) -> Parameters:
    """`shipped` after lessons of the earlier origins in `history`, if that is better at the later ones, both within the
    hour and beyond; else itself.

    Deterministic. Imports torch: for a worker process.
    """
    from forecaster.models import torch_training

    parts = _lessons(history)
    if not all(parts):
        return shipped
    learned, held = (joined(part) for part in parts)
    found = torch_training.train(learned, torch_training.Plan(_BATCHES, _RATE, _SEED), shipped)
    gain = 1 - _losses(found, held) / _losses(shipped, held)
    kept = bool((gain > 0).all() and gain.mean() > _LEAST_GAIN)
    soon, later = (round(float(one), 4) for one in gain)
    log.info("network tuned", windows=len(learned.odds), gain_soon=soon, gain_later=later, kept=kept)
    return found if kept else shipped


def _lessons(history: Frame) -> tuple[list[Lesson], list[Lesson]]:
    """To learn from, and to judge by: series and origins at random, the last quarter of the time held back."""
    grid = Grid(history.step)
    random = np.random.default_rng(_SEED)
    earliest, latest = DAYS * grid.day, history.length - grid.day // 4
    turn = latest - int(_HELD_SHARE * (latest - earliest))
    padded = np.concatenate([history.values, np.full((len(history.labels), grid.day), np.nan)], 1)
    extra_days = (latest - earliest) / grid.day
    windows = int(min(_MOST_WINDOWS, _WINDOWS_A_DAY * extra_days * len(history.labels)))
    learned = _drawn(padded, grid, (earliest, turn - grid.day), int((1 - _HELD_SHARE) * windows), random)
    return learned, _drawn(padded, grid, (turn, latest), int(_HELD_SHARE * windows), random)


def _drawn(
    padded: NDArray[np.float64], grid: Grid, origins: tuple[int, int], windows: int, random: np.random.Generator
) -> list[Lesson]:
    """About so many windows of rows of `padded` [N, time], whose origins lie in a range."""
    found = []
    for _ in range(-(-windows // _AT_ONCE)):
        leads = some_leads(grid, random)
        rows, at = random.integers(0, len(padded), _AT_ONCE), random.integers(*origins, _AT_ONCE)
        past = np.stack([padded[row, origin - grid.length : origin] for row, origin in zip(rows, at, strict=True)])
        came = np.stack([padded[row, origin + leads] for row, origin in zip(rows, at, strict=True)])
        known = (~np.isnan(past)).any(1) & (~np.isnan(came)).any(1)
        if known.any():
            found.append(lesson(past[known], came[known], grid, leads, 0.0))
    return found


def _losses(parameters: Parameters, held: Lesson) -> NDArray[np.float64]:
    """Mean pinball loss of the windows, weighted as in training: of the leads within the first hour, of the rest."""
    basis = Basis(held.stack, held.width, held.anchors, held.prior)
    said = network.correction(parameters, Inputs(held.sequence, held.traits, held.steps), held.prior).apply(basis)
    gap = held.came[..., None] - said
    loss = np.maximum(QUANTILE_GRID * gap, (QUANTILE_GRID - 1) * gap).mean(-1)
    loss = loss * np.minimum(held.weight, MOST_WEIGHT)[:, None]
    return np.array([np.nanmean(loss[:, :SOON]), np.nanmean(loss[:, SOON:])])
