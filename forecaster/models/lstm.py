"""LSTM: one global network for all series of a forecast, which learns where the stack is wrong.

A network on raw values alone loses to seasonal naive a day ahead; this one is given the stack and its members.
Training is in torch, prediction in numpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.forecast import Forecast
from forecaster.frame import Frame
from forecaster.model import QUANTILE_GRID, Predictor, State
from forecaster.models import features, network, profile
from forecaster.models.answer import alone, answer, check_step, rows_of
from forecaster.models.grid import Grid
from forecaster.models.profile import ProfilePredictor, chunks
from forecaster.models.stack import Evidence, Stack

_LEADS, _FIRST_HOUR_SHARE = 48, 1 / 3
_WINDOWS, _ORIGINS, _LEAST_WINDOWS = 3000, 160, 100
_LEAST_PAST_DAYS = 2.0
_MOST_BATCHES = 300
_SEED = 7
_SHARE = 0.5
"""Of the network in the answer, the rest being the stack's: what two weeks teach is half noise."""
_STACK, _NETWORK = "stack.", "network."


@dataclass(frozen=True)
class LstmPredictor:
    """The stack, and the network that corrects it; no network where the history was too short to learn from."""

    base: ProfilePredictor
    parameters: network.Parameters

    def predict(self, recent: Frame, horizon: int, levels: tuple[float, ...]) -> Forecast:
        """See Predictor."""
        if not self.parameters:
            return self.base.predict(recent, horizon, levels)
        check_step(self.base.step, recent)
        grid = Grid(self.base.step)
        values = grid.align(recent.values)
        stacks = self.base.stack.select(rows_of(self.base.keys, recent))
        quantiles = np.empty((len(values), horizon, len(QUANTILE_GRID)))
        leads = np.arange(horizon)
        for rows in chunks(len(values), 10 * horizon * features.step_features(grid)):
            seen = features.inputs(values[rows], grid, leads, recent.end + recent.step, stacks.select(rows))
            mixed = _SHARE * network.quantiles(self.parameters, seen) + (1 - _SHARE) * seen.stack
            quantiles[rows] = seen.scale.undo(mixed)
        return answer(recent, quantiles, levels)

    def weights(self, recent: Frame) -> Mapping[str, NDArray[np.float64]]:
        """See Predictor."""
        return alone("lstm", recent)

    def state(self) -> State:
        """See Predictor."""
        base = self.base.state()
        arrays = {_STACK + name: array for name, array in base.arrays.items()}
        arrays |= {_NETWORK + name: array for name, array in self.parameters.items()}
        return State(arrays, base.facts)


class Lstm:
    """See the module."""

    def fit(self, history: Frame, horizon: int) -> Predictor:
        """See Model. Work is bounded by counts, not by a clock, which would make the result depend on the machine."""
        base, evidence = profile.fit(history, horizon)
        windows = _windows(history, base, evidence)
        if windows is None:
            return LstmPredictor(base, {})
        from forecaster.models import torch_training

        lesson = torch_training.Lesson(**windows)
        return LstmPredictor(base, torch_training.train(lesson, _MOST_BATCHES) or {})

    def restore(self, state: State) -> Predictor:
        """See Model."""
        parts = {
            prefix: {n.removeprefix(prefix): a for n, a in state.arrays.items() if n.startswith(prefix)}
            for prefix in (_STACK, _NETWORK)
        }
        return LstmPredictor(profile.restore(State(parts[_STACK], state.facts)), parts[_NETWORK])


def _windows(history: Frame, base: ProfilePredictor, evidence: Evidence) -> dict[str, Any] | None:
    """Windows of the history, by the names of `Lesson`: origins and leads at random, a third within the first hour.

    None when there are too few to learn from. The stack at an origin is weighted by the days which that origin
    doesn't forecast: with weights that knew them, the network would learn to trust it too much.
    """
    grid = Grid(history.step)
    values = grid.align(history.values)
    random = np.random.default_rng(_SEED)
    seen = np.flatnonzero((~np.isnan(values)).any(0))
    span = grid.length - int(seen[0]) if len(seen) else 0
    furthest = span - int(_LEAST_PAST_DAYS * grid.day)
    if furthest < grid.day:
        return None
    padded = np.concatenate(
        [np.full((len(values), furthest), np.nan), values, np.full((len(values), grid.day), np.nan)], 1
    )
    backs = np.unique(random.integers(grid.steps(1), furthest + 1, _ORIGINS))
    held = grid.day + furthest // 5
    backs = backs[(backs <= held) | (backs >= held + grid.day)]  # no day is both learned from and held
    per_origin = min(len(values), -(-_WINDOWS // len(backs)))
    parts = []
    for back in backs:
        rows = np.sort(random.choice(len(values), per_origin, replace=False))
        origin = padded.shape[1] - grid.day - int(back)
        leads = _some_leads(grid, random)
        came = padded[rows][:, origin + leads]
        past = padded[rows, origin - grid.length : origin]
        rows, came, past = (part[(~np.isnan(came)).any(1) & (~np.isnan(past)).any(1)] for part in (rows, came, past))
        if not len(rows):
            continue
        others = evidence.select(rows).weights(evidence.apart(int(back), grid.day))
        stack = Stack(others, base.stack.bands[rows], base.stack.unrest[rows])
        moment = history.end + history.step - back * history.step
        given = features.inputs(past, grid, leads, moment, stack)
        scaled = np.clip((came - given.scale.centre[:, None]) / given.scale.spread[:, None], -60, 60)
        parts.append((given.sequence, given.traits, given.steps, given.stack, scaled, np.full(len(rows), back <= held)))
    if sum(len(part[-1]) for part in parts) < _LEAST_WINDOWS:
        return None
    names = ("sequence", "traits", "steps", "stack", "came", "held")
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    windows = {name: column.astype(np.float32) for name, column in zip(names, columns, strict=True)}
    windows["held"] = columns[-1]
    kept = windows["held"].mean()
    return windows if 0 < kept < 1 else None


def _some_leads(grid: Grid, random: np.random.Generator) -> NDArray[np.intp]:
    """Leads within a day, as many for every origin; a lead may come twice where there are few."""
    soon = random.integers(0, grid.steps(1), round(_LEADS * _FIRST_HOUR_SHARE))
    later = random.integers(0, grid.day, _LEADS - len(soon))
    return np.sort(np.concatenate([soon, later])).astype(np.intp)
