"""Ridge: a smooth day and week by regression, pulled to where the series is now, as far and as long as pays.

A regression ignores the last residual (an AR correction takes its error an hour ahead from 1.13 to 0.86 of seasonal
naive's, measured on NAB). How fast the pull decays, and how much season there is at all, a backtest weighs per series
and horizon, with the season as it was known then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecaster.forecast import Forecast
from forecaster.frame import Frame
from forecaster.model import QUANTILE_GRID, Predictor, State, label_key
from forecaster.models import season, stack
from forecaster.models.answer import alone, answer, check_step, rows_of
from forecaster.models.grid import Grid
from forecaster.models.profile import chunks
from forecaster.models.robust import Array, first_known, median
from forecaster.models.season import KINDS
from forecaster.models.stack import BUCKET_HOURS, Experts, Scale, Stack, scale_of

Leads = NDArray[np.intp]
Floats = NDArray[np.float64]

_PULLS = (
    (1.0, 0.0, 0.0),
    (0.25, 0.0, 1.5),
    (1.0, 0.0, 6.0),
    (1.0, 0.0, np.inf),
    (1.0, 24.0, 0.0),
    (1.0, 24.0, 6.0),
    (0.25, 1.0, 1.0),
    (1.0, 6.0, 3.0),
)
"""Hours whose median residual is the start, hours whose it decays to (0: to nothing), and in how many hours it does."""
NAMES = tuple(f"{kind}_{start:g}h_to_{end:g}h_in_{hours:g}h" for kind in KINDS for start, end, hours in _PULLS)
_UNTESTED = "day_1h_to_24h_in_6h"
"""What to go by while the history is too short for a backtest."""
_APART_SECONDS = 1800.0
"""Past the first hour, leads this far apart are enough to weigh by."""
_MOST_SORTED = 48
"""Of a day's residuals so many are enough for its median."""
_STACK = ("weights", "bands", "unrest")


@dataclass(frozen=True)
class RidgePredictor:
    """The seasons of each series in its own units, and how they are mixed and pulled."""

    step: float
    keys: tuple[str, ...]
    seasons: NDArray[np.float64]  # [N, kind, column of season.Basis]
    stack: Stack

    def predict(self, recent: Frame, horizon: int, levels: tuple[float, ...]) -> Forecast:
        """See Predictor. A series that wasn't there in training gets a season of its own, mixed as is usual."""
        check_step(self.step, recent)
        grid = Grid(self.step)
        leads, after = np.arange(horizon), recent.end + recent.step
        hours, clock = grid.hours(leads), grid.clock(after, leads)
        rows = rows_of(self.keys, recent)
        mixes = self.stack.select(rows)
        values = grid.align(recent.values)
        quantiles = np.empty((len(values), horizon, len(QUANTILE_GRID)))
        for part in chunks(len(values), horizon * len(NAMES)):
            scale = scale_of(values[part], grid)
            scaled = scale.apply(values[part])
            known = self._known(rows[part], scaled, scale, grid, after)
            said = _members(scaled, known, grid, after, leads)
            quantiles[part] = scale.undo(mixes.select(part).quantiles(said, hours, clock))
        return answer(recent, quantiles, levels)

    def weights(self, recent: Frame) -> Mapping[str, NDArray[np.float64]]:
        """See Predictor."""
        return alone("ridge", recent)

    def state(self) -> State:
        """See Predictor."""
        arrays = {name: getattr(self.stack, name) for name in _STACK}
        return State({"seasons": self.seasons, **arrays}, {"step": self.step, "keys": list(self.keys)})

    def _known(self, rows: NDArray[np.intp], scaled: Array, scale: Scale, grid: Grid, after: float) -> Floats:
        """The seasons [N, kind, column] of `rows`, in units of `scale`."""
        new = rows < 0
        found = np.empty((len(rows), *self.seasons.shape[1:]))
        found[~new] = self.seasons[rows[~new]]
        found[:, :, 0] -= scale.centre[:, None]
        found /= scale.spread[:, None, None]
        if new.any():
            found[new] = season.fit(scaled[new], grid, after, 0)[:, 0]
        return found


class Ridge:
    """See the module."""

    def fit(self, history: Frame, horizon: int) -> Predictor:
        """See Model."""
        grid = Grid(history.step)
        leads = grid.sample(max(horizon, grid.day))
        leads = leads[(leads < grid.steps(1)) | (leads % max(1, round(_APART_SECONDS / grid.step)) == 0)]
        values = grid.align(history.values)
        seasons, stacks = [], []
        for rows in chunks(len(values), stack.ORIGINS * len(leads) * len(NAMES)):
            scale = scale_of(values[rows], grid)
            known, mix = _fit(scale.apply(values[rows]), grid, leads, history.end + history.step)
            known *= scale.spread[:, None, None]
            known[:, :, 0] += scale.centre[:, None]
            seasons.append(known)
            stacks.append(mix)
        whole = Stack(*(np.concatenate([getattr(mix, name) for mix in stacks]) for name in _STACK))
        keys = tuple(label_key(labels) for labels in history.labels)
        return RidgePredictor(history.step, keys, np.concatenate(seasons), whole)

    def restore(self, state: State) -> Predictor:
        """See Model."""
        whole = Stack(*(state.arrays[name] for name in _STACK))
        return RidgePredictor(float(state.facts["step"]), tuple(state.facts["keys"]), state.arrays["seasons"], whole)


def _fit(values: Array, grid: Grid, leads: Leads, after: float) -> tuple[Floats, Stack]:
    """Seasons as known now, and the mix that would have been best with those known at earlier origins."""
    by_day = season.fit(values, grid, after, season.day_before(grid, stack.backs(grid)[-1]))

    def say(past: Array, back: int) -> Array:
        known = by_day[:, season.day_before(grid, back)]
        return _members(past, known, grid, after - back * grid.step, leads)

    prior = np.tile(np.array([name == _UNTESTED for name in NAMES], np.float32), (len(BUCKET_HOURS), 1))
    return by_day[:, 0], stack.fit(values, grid, leads, after, Experts(prior, say))


def _members(values: Array, known: Floats, grid: Grid, after: float, leads: Leads) -> Array:
    """[N, member, lead] at `leads` steps after `values` [N, time], in the order of NAMES."""
    basis = season.basis_of(grid)
    then = basis.at(after - grid.step * np.arange(grid.day, 0, -1)).T.astype(np.float32)
    ahead = basis.at(after + grid.step * leads).T.astype(np.float32)
    hours = grid.hours(leads)
    found = []
    for k in range(len(KINDS)):
        coefficients = known[:, k].astype(np.float32)
        path = coefficients @ ahead
        levels = _levels(values[:, -grid.day :] - coefficients @ then, grid)
        for start, end, decay in _PULLS:
            left = np.exp(-hours / decay) if decay else np.zeros(len(hours))
            found.append(path + levels[end] + (levels[start] - levels[end]) * left.astype(np.float32))
    return np.stack(found, 1)


def _levels(residual: Array, grid: Grid) -> dict[float, Array]:
    """Medians [N, 1] of the last hours of `residual` [N, a day], by their number; of a day where fewer are all gaps."""
    levels = {0.0: np.zeros((len(residual), 1), np.float32)}
    for hours in (24.0, 6.0, 1.0, 0.25):
        span = min(grid.steps(hours), grid.day)
        last = residual[:, -span :: max(1, span // _MOST_SORTED)]
        levels[hours] = first_known(median(last)[:, None], levels[24.0 if hours < 24 else 0.0])
    return levels
