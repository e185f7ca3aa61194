"""Profile: the stack of cheap members, weighted per series and horizon by a backtest inside the history.

The most accurate model for its cost; quick enough to refit for thousands of series.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecaster.forecast import Forecast
from forecaster.frame import Frame
from forecaster.model import QUANTILE_GRID, State, label_key
from forecaster.models import members, stack
from forecaster.models.answer import alone, answer, check_step, rows_of
from forecaster.models.grid import Grid
from forecaster.models.stack import Stack, scale_of

CHUNK_CELLS = 2e6
"""Series are taken in groups of about this many (origin, member, lead) cells each: memory stays small."""


@dataclass(frozen=True)
class ProfilePredictor:
    """The stack of each series."""

    step: float
    keys: tuple[str, ...]
    stack: Stack

    def predict(self, recent: Frame, horizon: int, levels: tuple[float, ...]) -> Forecast:
        """See Predictor."""
        check_step(self.step, recent)
        grid = Grid(self.step)
        leads = np.arange(horizon)
        hours, clock = grid.hours(leads), grid.clock(recent.end + recent.step, leads)
        chosen = self.stack.select(rows_of(self.keys, recent))
        values = grid.align(recent.values)
        quantiles = np.empty((len(values), horizon, len(QUANTILE_GRID)))
        for rows in chunks(len(values), horizon * len(members.names(grid))):
            scale = scale_of(values[rows], grid)
            said = members.forecast(scale.apply(values[rows]), grid, leads).values
            quantiles[rows] = scale.undo(chosen.select(rows).quantiles(said, hours, clock))
        return answer(recent, quantiles, levels)

    def weights(self, recent: Frame) -> Mapping[str, NDArray[np.float64]]:
        """See Predictor."""
        return alone("profile", recent)

    def state(self) -> State:
        """See Predictor."""
        arrays = {"weights": self.stack.weights, "bands": self.stack.bands, "unrest": self.stack.unrest}
        return State(arrays, {"step": self.step, "keys": list(self.keys)})


class Profile:
    """See the module. What was made of a history is kept until the next one: the networks build on the same."""

    def __init__(self) -> None:
        self._newest: tuple[Frame, int, ProfilePredictor] | None = None

    def fit(self, history: Frame, horizon: int) -> ProfilePredictor:
        """See Model."""
        if self._newest is not None:
            frame, steps, predictor = self._newest
            if frame.values is history.values and frame.start == history.start and steps == horizon:
                return predictor
        predictor = fit(history, horizon)
        self._newest = history, horizon, predictor
        return predictor

    def restore(self, state: State) -> ProfilePredictor:
        """See Model."""
        whole = Stack(state.arrays["weights"], state.arrays["bands"], state.arrays["unrest"])
        return ProfilePredictor(float(state.facts["step"]), tuple(state.facts["keys"]), whole)


def fit(history: Frame, horizon: int) -> ProfilePredictor:
    """The stack of each series, chunk by chunk."""
    grid = Grid(history.step)
    leads = grid.sample(max(horizon, grid.day))
    values = grid.align(history.values)
    parts = [
        stack.fit(scale_of(values[rows], grid).apply(values[rows]), grid, leads, history.end + history.step)
        for rows in chunks(len(values), stack.ORIGINS * len(leads) * len(members.names(grid)))
    ]
    weights, bands, unrest = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("weights", "bands", "unrest")
    )
    keys = tuple(label_key(labels) for labels in history.labels)
    return ProfilePredictor(history.step, keys, Stack(weights, bands, unrest))


def chunks(rows: int, cells_per_row: int) -> Iterator[NDArray[np.intp]]:
    """Row numbers, group by group."""
    size = max(1, min(100, int(CHUNK_CELLS / cells_per_row)))
    for first in range(0, max(rows, 1), size):
        yield np.arange(first, min(first + size, rows))
