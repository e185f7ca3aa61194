"""Tuning: what a shipped network learns from weeks of the very series that it is to forecast.

Two weeks teach nothing that carries over; the gain begins where there are whole histories to look back from.
"""

from __future__ import annotations

import numpy as np

from cloudpulse import logs
from forecaster.frame import Frame
from forecaster.model import QUANTILE_GRID
from forecaster.models import network
from forecaster.models.features import Basis, Inputs
from forecaster.models.grid import DAYS, Grid
from forecaster.models.lesson import Lesson, joined, lesson, some_leads
from forecaster.models.network import Parameters

LEAST_EXTRA_DAYS = 7
"""Days beyond a whole history that there must be to learn from."""

_WINDOWS, _PER_ORIGIN, _HELD_SHARE = 2400, 16, 0.25
_BATCHES, _RATE = 300, 1e-3
_LEAST_GAIN = 0.01
_SEED = 7

log = logs.get(__name__)


def enough(history: Frame) -> bool:
    """Whether `history` is long enough to tune by."""
    return history.length >= (DAYS + LEAST_EXTRA_DAYS) * Grid(history.step).day


def tuned(shipped: Parameters, history: Frame) -> Parameters:
    """`shipped` after lessons of the earlier origins in `history`, if that is better at the later ones; else itself.

    Deterministic. Imports torch: for a worker process.
    """
    from forecaster.models import torch_training

    parts = _lessons(history)
    if not all(parts):
        return shipped
    learned, held = (joined(part) for part in parts)
    found = torch_training.train(learned, torch_training.Plan(_BATCHES, _RATE, _SEED), shipped)
    before, after = _loss(shipped, held), _loss(found, held)
    log.info("network tuned", windows=len(learned.odds), before=round(before, 4), after=round(after, 4))
    return found if after < (1 - _LEAST_GAIN) * before else shipped


def _lessons(history: Frame) -> tuple[list[Lesson], list[Lesson]]:
    """To learn from, and to judge by: origins at random, the last quarter of the time held back, a day apart."""
    grid = Grid(history.step)
    random = np.random.default_rng(_SEED)
    earliest, latest = DAYS * grid.day, history.length - grid.day // 4
    turn = latest - int(_HELD_SHARE * (latest - earliest))
    rows = min(_PER_ORIGIN, len(history.labels))
    padded = np.concatenate([history.values, np.full((len(history.labels), grid.day), np.nan)], 1)
    parts: dict[bool, list[Lesson]] = {False: [], True: []}
    for _ in range(-(-_WINDOWS // rows)):
        origin = int(random.integers(earliest, latest))
        leads = some_leads(grid, random)
        chosen = random.choice(len(padded), rows, replace=False)
        past, came = padded[chosen, origin - grid.length : origin], padded[chosen][:, origin + leads]
        known = (~np.isnan(past)).any(1) & (~np.isnan(came)).any(1)
        if not turn - grid.day < origin < turn and known.any():
            start = history.start + origin * history.step
            parts[origin >= turn].append(lesson(past[known], came[known], grid, leads, start))
    return parts[False], parts[True]


def _loss(parameters: Parameters, held: Lesson) -> float:
    """Mean pinball loss of the windows, weighted as in training."""
    basis = Basis(held.stack, held.width, held.anchors, held.prior)
    said = network.correction(parameters, Inputs(held.sequence, held.traits, held.steps), held.prior).apply(basis)
    gap = held.came[..., None] - said
    loss = np.maximum(QUANTILE_GRID * gap, (QUANTILE_GRID - 1) * gap).mean(-1)
    return float(np.nanmean(loss * np.minimum(held.weight, 6)[:, None]))
