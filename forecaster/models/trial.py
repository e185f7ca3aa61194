"""Trial: models that were trained on all but the last days forecast those days, so that they can be compared.

What they are judged by is honest: nothing that a model said was trained on what came.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecaster import backtest
from forecaster.frame import Frame
from forecaster.model import Model, Predictor
from forecaster.models.grid import Grid
from forecaster.models.robust import Array
from forecaster.models.stack import BUCKET_HOURS, bucket_of

LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
_HELD_OUT_DAYS, _HELD_OUT_SHARE = 3.0, 0.25
_LEAST_HELD_OUT_HOURS, _ORIGIN_HOURS = 12, 4
_FIRST_HOUR_LEADS, _LEAD_HOURS = 12, 0.5


@dataclass(frozen=True)
class Trial:
    """What M models said about N series at O origins, and what came; float32, NaN where unknown."""

    hours: NDArray[np.float64]  # [lead]
    said: Array  # [M, N, O, lead, level of LEVELS]
    came: Array  # [N, O, lead]

    def buckets(self) -> list[NDArray[np.intp]]:
        """The leads of each horizon bucket; empty for one that the held-out days don't reach."""
        bucket = bucket_of(self.hours, BUCKET_HOURS)
        return [np.flatnonzero(bucket == b) for b in range(len(BUCKET_HOURS))]

    def losses(self, leads: NDArray[np.intp]) -> Array:
        """Mean pinball loss over some leads and all origins, [N, M]; NaN where nothing could be compared."""
        gap = self.came[:, :, leads, None] - self.said[:, :, :, leads]
        levels = np.array(LEVELS, np.float32)
        loss = np.maximum(levels * gap, (levels - 1) * gap).mean(-1)
        known = ~np.isnan(loss)
        total = np.where(known, loss, 0).sum((2, 3), dtype=np.float64)
        count = known.sum((2, 3))
        return np.where(count > 0, total / np.maximum(count, 1), np.nan).T

    def windows(self, leads: NDArray[np.intp]) -> NDArray[np.intp]:
        """Origins at which something came, [N]."""
        seen: NDArray[np.intp] = (~np.isnan(self.came[:, :, leads])).any(2).sum(1)
        return seen


def trial(models: Sequence[Model], history: Frame, horizon: int) -> Trial | None:
    """Let `models` forecast the last days of `history`: a quarter of what is observed, 3 days at most.

    None where that is too little to compare anything.
    """
    grid = Grid(history.step)
    held_out = _held_out(history, grid)
    origins = backtest.origins(history.length, history.length - held_out, grid.steps(_ORIGIN_HOURS))
    if held_out < grid.steps(_LEAST_HELD_OUT_HOURS) or len(origins) < 2:
        return None
    past = history.between(0, history.length - held_out)
    steps = min(horizon, held_out)
    leads = _some_leads(steps, grid)
    padded = np.concatenate([history.values, np.full((len(history.labels), steps), np.nan)], 1)
    came = np.stack([padded[:, origin + leads] for origin in origins], 1)
    said = [_said(model.fit(past, horizon), history, origins, leads, steps) for model in models]
    return Trial(grid.hours(leads), np.stack(said), came.astype(np.float32))


def _said(
    predictor: Predictor, history: Frame, origins: tuple[int, ...], leads: NDArray[np.intp], steps: int
) -> NDArray[np.float32]:
    """[N, O, lead, level]; each forecast is given what lies before its origin."""
    found = [predictor.predict(history.between(0, origin), steps, LEVELS).values[:, leads] for origin in origins]
    return np.stack(found, 1).astype(np.float32)


def _some_leads(steps: int, grid: Grid) -> NDArray[np.intp]:
    """Leads to compare: 12 of the first hour, then one in half an hour, past a day one in two hours."""
    hour = grid.steps(1)
    parts = (
        np.linspace(0, hour - 1, min(hour, _FIRST_HOUR_LEADS)),
        np.arange(hour, grid.day, grid.steps(_LEAD_HOURS)),
        np.arange(grid.day, steps, 2 * hour),
    )
    leads = np.unique(np.concatenate(parts).round().astype(np.intp))
    return leads[leads < steps]


def _held_out(history: Frame, grid: Grid) -> int:
    seen = np.flatnonzero((~np.isnan(history.values)).any(0))
    span = history.length - int(seen[0]) if len(seen) else 0
    return int(min(_HELD_OUT_DAYS * grid.day, _HELD_OUT_SHARE * span))
