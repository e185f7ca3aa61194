"""LSTM: a network that corrects the stack, trained on many other series before it meets these.

A network on raw values alone loses to seasonal naive a day ahead, and one that learns from two weeks of its own series
overfits; this one is given the stack and its members, and comes trained (see weights.py), so that it forecasts from
the first hour on. With weeks of history it is tuned to them (see tuning.py).
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
from forecaster.models import features, network, weights
from forecaster.models.answer import alone, answer, check_step, rows_of
from forecaster.models.grid import Grid
from forecaster.models.profile import Profile, ProfilePredictor, chunks
from forecaster.models.stack import scale_of

_COARSEST_STEP = 3600.0
_STACK, _NETWORK = "stack.", "network."
_FINE_LEADS, _COARSE_HOURS = 12, 0.25


@dataclass(frozen=True)
class LstmPredictor:
    """The stack, and the network that corrects it; no network on a grid that it can't read."""

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
        few, between = sampled(horizon, grid)
        start = recent.end + recent.step
        for rows in chunks(len(values), 3 * horizon * features.step_features(grid)):
            scale, stack = scale_of(values[rows], grid), stacks.select(rows)
            scaled = scale.apply(values[rows])
            given = features.basis(scaled, grid, leads, start, stack)
            sparse = given.at(few)
            seen = features.inputs(scaled, grid, few, start, stack, sparse)
            correction = network.correction(self.parameters, seen, sparse.prior)
            quantiles[rows] = scale.undo(correction.at(between).apply(given))
        return answer(recent, quantiles, levels)

    def weights(self, recent: Frame) -> Mapping[str, NDArray[np.float64]]:
        """See Predictor. Where there is no network, all that speaks is the stack."""
        return alone("lstm" if self.parameters else "profile", recent)

    def state(self) -> State:
        """See Predictor."""
        base = self.base.state()
        arrays = {_STACK + name: array for name, array in base.arrays.items()}
        arrays |= {_NETWORK + name: array for name, array in self.parameters.items()}
        return State(arrays, base.facts)


class Lstm:
    """See the module. `parameters` are the network's, None being the shipped ones; `base` fits the stack."""

    def __init__(self, parameters: network.Parameters | None = None, base: Profile | None = None) -> None:
        self._parameters = parameters
        self._base = base or Profile()

    def fit(self, history: Frame, horizon: int) -> Predictor:
        """See Model."""
        base = self._base.fit(history, horizon)
        heard = readable(Grid(history.step))
        return LstmPredictor(base, (self._parameters or weights.read("lstm")) if heard else {})

    def restore(self, state: State) -> Predictor:
        """See Model."""
        parts = {
            prefix: {n.removeprefix(prefix): a for n, a in state.arrays.items() if n.startswith(prefix)}
            for prefix in (_STACK, _NETWORK)
        }
        return LstmPredictor(self._base.restore(State(parts[_STACK], state.facts)), parts[_NETWORK])


def readable(grid: Grid) -> bool:
    """Whether the network can read this grid: it knows times of day, and was trained on steps up to an hour."""
    return grid.daily and grid.step <= _COARSEST_STEP


def sampled(horizon: int, grid: Grid) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Leads at which the network is asked, and how each lead of the horizon is read off between them, [lead, asked].

    What it changes moves slowly with the lead: 12 in the first hour and one in 15 min (from a day on one in an hour)
    are as good as all.
    """
    hour = grid.steps(1)
    places: list[NDArray[Any]] = [
        np.linspace(0, hour - 1, min(_FINE_LEADS, hour)),
        np.arange(hour, grid.day, grid.steps(_COARSE_HOURS)),
        np.arange(grid.day, horizon, hour),
        np.array([horizon - 1]),
    ]
    few = np.unique(np.clip(np.concatenate(places).round().astype(np.intp), 0, horizon - 1))
    leads = np.arange(horizon)
    right = np.clip(np.searchsorted(few, leads), min(1, len(few) - 1), len(few) - 1)
    left = np.maximum(right - 1, 0)
    part = (leads - few[left]) / np.maximum(few[right] - few[left], 1)
    between = np.zeros((horizon, len(few)), np.float32)
    between[leads, left] += 1 - part
    between[leads, right] += part
    return few, between
