"""Autoregression: the next minutes from the last ones, by a regression of its own for each lead.

The other models look at hours and at times of day; what scales a service minutes ahead is how its load moves now.
Each lead is regressed directly on the last values (direct, not iterated: Marcellino, Stock & Watson, 2006), on the
change that this time of day usually brings, and on how far the series is from where it usually is. How far it strays
is regressed, too: on how restless the last minutes were, and on the level.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecaster.forecast import Forecast
from forecaster.frame import Frame
from forecaster.model import QUANTILE_GRID, Predictor, State, label_key
from forecaster.models.answer import alone, answer, check_step, rows_of
from forecaster.models.grid import Grid
from forecaster.models.profile import chunks
from forecaster.models.recent import Past, past_of
from forecaster.models.robust import Array, mean, quantiles
from forecaster.models.stack import scale_of

_MOST_ROWS = 4000
_APART = 1.4
"""Leads that are regressed lie this factor apart; those between are interpolated."""
_SHRUNK = 1e-3
_FAR = 3.0
"""Residuals beyond so many times the usual one weigh less (Huber)."""
_FEWEST_ROWS, _FEWEST_SEEN, _MOST_GROWTH = 40, 10, 3.0
"""Rows below which nothing is regressed: the last value stays, with the changes that were seen; and below which a lead
follows a shorter one, its band at most so much wider."""

_LEARNED = ("point", "stray", "reach", "band")

Leads = NDArray[np.intp]


@dataclass(frozen=True)
class AutoregressionPredictor:
    """The regressions of each series, at some leads."""

    step: float
    keys: tuple[str, ...]
    leads: Leads  # steps ahead, from 1
    point: Array  # [N, lead, feature]
    stray: Array  # [N, lead, feature]: of the logarithm of the residual
    reach: Array  # [N, lead, 2]: least and most of that logarithm
    band: Array  # [N, lead, level of QUANTILE_GRID]: residuals in units of how far it strays

    def predict(self, recent: Frame, horizon: int, levels: tuple[float, ...]) -> Forecast:
        """See Predictor. A series that wasn't there in training gets regressions of its own."""
        check_step(self.step, recent)
        grid = Grid(self.step)
        rows = rows_of(self.keys, recent)
        values = grid.align(recent.values)
        spoken = min(horizon, int(self.leads[-1]) if len(self.leads) else 0)
        found = np.full((len(values), horizon, len(QUANTILE_GRID)), np.nan)
        for part in chunks(len(values), grid.length * 4) if spoken else ():
            known = self._of(rows[part], recent.select(part))
            scale = scale_of(values[part], grid)
            past = past_of(scale.apply(values[part]), np.abs(values[part]) / scale.spread[:, None], grid)
            found[part, :spoken] = scale.undo(known.quantiles(past, spoken))
        return answer(recent, found, levels)

    def quantiles(self, past: Past, horizon: int) -> Array:
        """[N, lead, level of QUANTILE_GRID] after the last column of `past`."""
        between = _between(self.leads, horizon)  # [lead, regressed lead]
        last = np.array([past.filled.shape[1] - 1])
        point, stray, reach, band = (
            np.einsum("hl,nlf->nhf", between, part) for part in (self.point, self.stray, self.reach, self.band)
        )
        now, unrest = past.now(last)[:, 0], past.unrest(last)[:, 0]
        changes = np.concatenate([past.changes(last, lead + 1) for lead in range(horizon)], 1)
        size = now.shape[-1]
        middle = past.filled[:, -1:] + (point[:, :, :size] * now[:, None]).sum(-1)
        middle += (point[:, :, size:] * changes).sum(-1)
        strays = np.exp(np.clip((stray * unrest[:, None]).sum(-1), reach[:, :, 0], reach[:, :, 1]))
        found: Array = middle[:, :, None] + strays[:, :, None] * band
        return found

    def weights(self, recent: Frame) -> Mapping[str, NDArray[np.float64]]:
        """See Predictor."""
        return alone("ar", recent)

    def state(self) -> State:
        """See Predictor."""
        arrays = {name: getattr(self, name) for name in ("leads", *_LEARNED)}
        return State(arrays, {"step": self.step, "keys": list(self.keys)})

    def _of(self, rows: NDArray[np.intp], recent: Frame) -> AutoregressionPredictor:
        """That of the series `recent`, at `rows` in training; -1 is fitted on the spot."""
        learned = {name: getattr(self, name)[rows] for name in _LEARNED}
        if (rows < 0).any():
            new = np.flatnonzero(rows < 0)
            fitted = _fit(recent.select(new), self.leads)
            for name in _LEARNED:
                learned[name][new] = fitted[name]
        return AutoregressionPredictor(self.step, (), self.leads, **learned)


class Autoregression:
    """See the module. Beyond `most_hours` it is silent: NaN."""

    def __init__(self, most_hours: float = np.inf) -> None:
        self._most_hours = most_hours

    def fit(self, history: Frame, horizon: int) -> Predictor:
        """See Model."""
        hours = Grid(history.step).hours(np.arange(horizon))
        leads = _regressed(int((hours <= self._most_hours + 1e-9).sum()))
        parts = [_fit(history.select(rows), leads) for rows in chunks(len(history.labels), 20 * _MOST_ROWS)]
        learned = {name: np.concatenate([part[name] for part in parts]) for name in _LEARNED}
        keys = tuple(label_key(labels) for labels in history.labels)
        return AutoregressionPredictor(history.step, keys, leads, **learned)

    def restore(self, state: State) -> Predictor:
        """See Model."""
        keys = tuple(state.facts["keys"])
        learned = {name: state.arrays[name] for name in _LEARNED}
        leads = state.arrays["leads"].astype(np.intp)
        return AutoregressionPredictor(float(state.facts["step"]), keys, leads, **learned)


def _regressed(horizon: int) -> Leads:
    """Leads from 1 to `horizon`, each about `_APART` times the one before."""
    if not horizon:
        return np.arange(0)
    count = 1 + int(np.ceil(np.log(horizon) / np.log(_APART)))
    return np.unique(np.geomspace(1, horizon, count).round().astype(np.intp))


def _between(leads: Leads, horizon: int) -> Array:
    """Weights [lead, regressed lead], linear in the logarithm of the lead."""
    asked = np.log(np.arange(1, horizon + 1))
    return np.stack([np.interp(asked, np.log(leads), one) for one in np.eye(len(leads))], 1).astype(np.float32)


def _fit(history: Frame, leads: Leads) -> dict[str, Array]:
    """The regressions of every series of `history` at `leads`."""
    grid = Grid(history.step)
    values = grid.align(history.values)
    scale = scale_of(values, grid)
    scaled = scale.apply(values)
    past = past_of(scaled, np.abs(values) / scale.spread[:, None], grid)
    seen = ~np.isnan(scaled)
    first = min(int(np.argmax(seen.any(0))), grid.length - 2)
    at = np.arange(first, grid.length - 1, max(1, (grid.length - first) // _MOST_ROWS))
    now, unrest, here = past.now(at), past.unrest(at), past.filled[:, at]
    calm = np.exp(-unrest[:, :, 1])
    found, seen_rows = [], []
    for lead in leads:
        then = np.minimum(at + lead, grid.length - 1)
        known = seen[:, at] & seen[:, then] & (at + lead < grid.length)
        features = np.concatenate([now, past.changes(at, int(lead))], -1)
        target = past.filled[:, then] - here
        found.append(_regress(features, target, unrest, np.where(known, calm, 0)))
        seen_rows.append(known.sum(1))
    if not found:
        return {name: np.empty((len(values), 0, 0), np.float32) for name in _LEARNED}
    learned = {name: np.stack([one[name] for one in found], 1).astype(np.float32) for name in _LEARNED}
    return _carried(learned, np.stack(seen_rows, 1), leads)


def _carried(learned: dict[str, Array], seen: NDArray[np.intp], leads: Leads) -> dict[str, Array]:
    """A lead of which too little was seen, [N, lead], is the longest one before it, its band grown by the root; without
    one it is the first that was seen."""
    enough = seen >= np.clip(seen.max(1, keepdims=True), 1, _FEWEST_SEEN)
    first = enough.argmax(1)[:, None]  # a series that is scraped more seldom than each step has no shorter ones
    source = np.maximum.accumulate(np.where(enough, np.arange(len(leads)), first), 1)
    found = {name: np.take_along_axis(part, source[:, :, None], 1) for name, part in learned.items()}
    found["band"] *= np.minimum(np.sqrt(leads / leads[source]), _MOST_GROWTH)[:, :, None]
    return {name: part.astype(np.float32) for name, part in found.items()}


def _regress(features: Array, target: Array, unrest: Array, weight: Array) -> dict[str, Array]:
    """One lead: [N, row, feature] on [N, row], by rows of `weight` above 0."""
    used = weight > 0
    weight = np.where(used.sum(1, keepdims=True) >= _FEWEST_ROWS, weight, 0)
    point = _robust(features, target, weight)
    residual = target - _times(features, point)
    off = np.abs(residual)
    least = 0.05 * np.nan_to_num(mean(np.where(used, off, np.nan)))[:, None] + 1e-9
    stray = _least_squares(unrest, np.log(np.maximum(off, least)), (weight > 0).astype(np.float32))
    said = _times(unrest, stray)
    reach = np.stack([np.where(used, said, np.inf).min(1), np.where(used, said, -np.inf).max(1)], -1)
    reach[~used.any(1)] = 0
    band = quantiles(np.where(used, residual / np.exp(said), np.nan), QUANTILE_GRID)
    return {"point": point, "stray": stray, "reach": reach, "band": band}


def _robust(features: Array, target: Array, weight: Array) -> Array:
    """[N, feature] by least squares, and once more with less weight for what was far off then."""
    point = _least_squares(features, target, weight)
    off = np.abs(target - _times(features, point)) * weight
    usual = np.nan_to_num(mean(np.where(weight > 0, off, np.nan)))[:, None]
    return _least_squares(features, target, weight / np.maximum(off / np.maximum(_FAR * usual, 1e-12), 1))


def _least_squares(features: Array, target: Array, weight: Array) -> Array:
    """[N, feature], shrunk a little towards 0."""
    weighted = features * weight[:, :, None]
    square = np.matmul(weighted.transpose(0, 2, 1), features).astype(np.float64)
    size = np.trace(square, axis1=1, axis2=2) / square.shape[1]
    square += (_SHRUNK * size + 1e-9)[:, None, None] * np.eye(square.shape[1])
    right = np.matmul(weighted.transpose(0, 2, 1), target[:, :, None])
    found: Array = np.linalg.solve(square, right)[:, :, 0].astype(np.float32)
    return found


def _times(features: Array, coefficients: Array) -> Array:
    found: Array = np.matmul(features, coefficients[:, :, None])[:, :, 0]
    return found
