"""Trial: models that were trained on all but the last days forecast those days, so that they can be compared.

What they are judged by is honest: nothing that a model said was trained on what came.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from forecaster import backtest
from forecaster.frame import Frame
from forecaster.model import Model, Predictor
from forecaster.models.grid import Grid
from forecaster.models.robust import Array, median
from forecaster.models.stack import bucket_of

BUCKET_HOURS = (0.25, 1.0, 6.0, 24.0, np.inf)
"""Upper ends of the horizon buckets in which models are compared: who is good a quarter of an hour ahead is seldom the
one that is good a day ahead."""
LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
_HELD_OUT_DAYS, _HELD_OUT_SHARE = 3.0, 0.25
_LEAST_HELD_OUT_HOURS, _ORIGIN_HOURS = 12, 4
_FIRST_HOUR_LEADS, _LEAD_HOURS = 12, 0.5


@dataclass(frozen=True)
class Trial:
    """What M models said about N series at O origins, and what came, both less each series' median; NaN: unknown."""

    hours: NDArray[np.float64]  # [lead]
    said: Array  # [M, N, O, lead, level of LEVELS]
    came: Array  # [N, O, lead]

    def of(self, models: Sequence[int]) -> Trial:
        """That of some of the models, by their places."""
        return replace(self, said=self.said[list(models)])

    def buckets(self) -> list[NDArray[np.intp]]:
        """The leads of each horizon bucket; empty for one that the held-out days don't reach."""
        bucket = bucket_of(self.hours, BUCKET_HOURS)
        return [np.flatnonzero(bucket == b) for b in range(len(BUCKET_HOURS))]

    def losses(self, leads: NDArray[np.intp]) -> NDArray[np.float64]:
        """Mean pinball loss over some leads and all origins, [N, M]; NaN where nothing could be compared."""
        gap = self.came[:, :, leads, None] - self.said[:, :, :, leads]
        levels = np.array(LEVELS, np.float32)
        loss = np.maximum(levels * gap, (levels - 1) * gap).mean(-1)
        known = ~np.isnan(loss)
        total = np.where(known, loss, 0).sum((2, 3), dtype=np.float64)
        count = known.sum((2, 3))
        found: NDArray[np.float64] = np.where(count > 0, total / np.maximum(count, 1), np.nan).T
        return found

    def windows(self, leads: NDArray[np.intp]) -> NDArray[np.intp]:
        """Origins at which something came, [N]."""
        seen: NDArray[np.intp] = (~np.isnan(self.came[:, :, leads])).any(2).sum(1)
        return seen


def trial(models: Sequence[Model], history: Frame, horizon: int) -> Trial | None:
    """Let `models` forecast the last days of `history`; None where these are too few to compare anything."""
    grid = Grid(history.step)
    held = held_out(history)
    origins = backtest.origins(history.length, history.length - held, grid.steps(_ORIGIN_HOURS))
    if held < grid.steps(_LEAST_HELD_OUT_HOURS) or len(origins) < 2:
        return None
    past = history.between(0, history.length - held)
    steps = min(horizon, held)
    leads = _some_leads(steps, grid)
    padded = np.concatenate([history.values, np.full((len(history.labels), steps), np.nan)], 1)
    came = np.stack([padded[:, origin + leads] for origin in origins], 1)
    centre = np.nan_to_num(median(past.values))  # float32 has no digits to spare for Unix times and the like
    said = [
        (_said(model.fit(past, horizon), history, origins, leads, steps) - centre[:, None, None, None]).astype(
            np.float32
        )
        for model in models
    ]
    return Trial(grid.hours(leads), np.stack(said), (came - centre[:, None, None]).astype(np.float32))


def held_out(history: Frame) -> int:
    """Columns at the end of `history` that models are compared on: a quarter of what is observed, 3 days at most."""
    seen = np.flatnonzero((~np.isnan(history.values)).any(0))
    span = history.length - int(seen[0]) if len(seen) else 0
    return int(min(_HELD_OUT_DAYS * Grid(history.step).day, _HELD_OUT_SHARE * span))


def _said(
    predictor: Predictor, history: Frame, origins: tuple[int, ...], leads: NDArray[np.intp], steps: int
) -> NDArray[np.float64]:
    """[N, O, lead, level]; each forecast is given what lies before its origin."""
    found = [predictor.predict(history.between(0, origin), steps, LEVELS).values[:, leads] for origin in origins]
    return np.stack(found, 1)


def _some_leads(steps: int, grid: Grid) -> NDArray[np.intp]:
    """Leads to compare: some 12 of the first hour, denser towards now, then one in half an hour, past a day in two."""
    hour = grid.steps(1)
    first = np.arange(hour) if hour <= _FIRST_HOUR_LEADS else np.geomspace(1, hour, _FIRST_HOUR_LEADS) - 1
    parts = (
        first,
        np.arange(hour, grid.day, grid.steps(_LEAD_HOURS)),
        np.arange(grid.day, steps, 2 * hour),
    )
    leads = np.unique(np.concatenate(parts).round().astype(np.intp))
    return leads[leads < steps]
