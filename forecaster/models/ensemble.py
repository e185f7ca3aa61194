"""Ensemble: mixes the quantiles of several models, weighted per series and horizon bucket by a backtest.

Weights come from days that the models were not trained on; then those that earned any are trained on everything.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from forecaster import backtest
from forecaster.forecast import Forecast
from forecaster.frame import Frame
from forecaster.model import QUANTILE_GRID, Model, Predictor, State, label_key
from forecaster.models.answer import answer, check_step, rows_of
from forecaster.models.grid import Grid
from forecaster.models.seasonal_naive import SeasonalNaive
from forecaster.models.stack import BUCKET_HOURS, blend

FLOOR = "seasonal_naive"

_HELD_OUT_DAYS, _HELD_OUT_SHARE = 3.0, 0.25
_LEAST_HELD_OUT_HOURS = 12
_ORIGIN_HOURS = 4
_COMPARED_LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
_POWER = 8.0
_OWN_WINDOWS = {1.0: 36.0, 6.0: 60.0, 24.0: 60.0, np.inf: 60.0}
"""Windows per bucket at which a series' own result counts as much as what was known before: a few days prove little,
and windows of long leads overlap."""
_EXPECTED = {"profile": 0.75, "lstm": 0.78, "prophet": 1.1}
"""Loss against the floor's that models had on recorded series (forecast benchmark): where trust begins."""
_MOST_POOLED = 2.0
"""What all series together count against `_EXPECTED`: many series in the same three days are no proof either."""
_MOST = 4.0
"""A ratio further from 1 than this says no more: series on which one side is nearly perfect."""
_NEGLIGIBLE = 0.01
_AT_ONCE = 500
"""Series predicted together: memory stays small when there are thousands."""
_FADE = 1.4

_TRUSTED = ("profile", "lstm", "prophet", FLOOR)
"""Which model to take when the history is too short to compare: the first that is there."""


@dataclass(frozen=True)
class EnsemblePredictor:
    """Trained models, the floor always among them, and their weights [series, bucket, model]."""

    step: float
    keys: tuple[str, ...]
    parts: Mapping[str, Predictor]
    shares: NDArray[np.float32]

    def predict(self, recent: Frame, horizon: int, levels: tuple[float, ...]) -> Forecast:
        """See Predictor."""
        check_step(self.step, recent)
        groups = range(0, max(len(recent.labels), 1), _AT_ONCE)
        parts = [recent.select(range(first, min(first + _AT_ONCE, len(recent.labels)))) for first in groups]
        mixed = [self._mixed(part, horizon, levels) for part in parts]
        values = np.concatenate([one.values for one in mixed])
        said = {name: np.concatenate([one.parts[name] for one in mixed]) for name in self.parts}
        return Forecast(recent.end + recent.step, recent.step, levels, recent.labels, values, said)

    def without(
        self, demoted: Mapping[str, Collection[str]], hours: tuple[float, float] = (0.0, np.inf)
    ) -> EnsemblePredictor:
        """The same, in which the models of `demoted` (name -> `label_key`s of series) have no share in those series.

        That holds in the horizon buckets that end within `hours`, and in the one that holds their end. Where no model
        is left, seasonal naive speaks.
        """
        last = int(np.searchsorted(BUCKET_HOURS, hours[1]))
        first = min(int(np.searchsorted(BUCKET_HOURS, hours[0])) + 1, last) if hours[0] else 0
        rows = {key: row for row, key in enumerate(self.keys)}
        names = list(self.parts)
        shares = self.shares.copy()
        for name, keys in demoted.items():
            if name in names:
                shares[[rows[key] for key in keys if key in rows], first : last + 1, names.index(name)] = 0.0
        left = shares.sum(-1, keepdims=True)
        floor = np.array([name == FLOOR for name in names], np.float32)
        return replace(self, shares=np.where(left > 0, shares / np.where(left > 0, left, 1), floor))

    def weights(self, recent: Frame) -> Mapping[str, NDArray[np.float64]]:
        """See Predictor; the mean over the horizon buckets up to a day."""
        shares = self._shares(recent)[:, :-1].mean(1).astype(np.float64)
        return {name: shares[:, m] for m, name in enumerate(self.parts)}

    def state(self) -> State:
        """See Predictor. The models' arrays are named after them: `profile.weights`."""
        arrays: dict[str, NDArray[np.generic]] = {"shares": self.shares}
        facts = {}
        for name, predictor in self.parts.items():
            part = predictor.state()
            arrays |= {f"{name}.{key}": array for key, array in part.arrays.items()}
            facts[name] = dict(part.facts)
        return State(arrays, {"step": self.step, "keys": list(self.keys), "models": facts})

    def _mixed(self, recent: Frame, horizon: int, levels: tuple[float, ...]) -> Forecast:
        by_lead = blend(Grid(self.step).hours(np.arange(horizon)), BUCKET_HOURS, _FADE)
        shares = np.einsum("lb,nbm->mnl", by_lead, self._shares(recent))
        total = np.zeros((len(recent.labels), horizon, len(QUANTILE_GRID)))
        mass = np.zeros((len(recent.labels), horizon, 1))
        floor = np.full((1, 1, len(QUANTILE_GRID)), np.nan)
        medians = {}
        for (name, predictor), share in zip(self.parts.items(), shares, strict=True):
            said = predictor.predict(recent, horizon, tuple(QUANTILE_GRID)).values
            with np.errstate(over="ignore"):
                medians[name] = said[:, :, len(QUANTILE_GRID) // 2].astype(np.float32)
            # A model may be silent about a series (infinity says nothing either); those with a share then speak for it.
            silent = ~np.isfinite(said).all(-1, keepdims=True)
            spoken = np.where(silent, 0.0, share[:, :, None])
            total += np.where(spoken > 0, said, 0.0) * spoken
            mass += spoken
            floor = said if name == FLOOR else floor
        mixed = np.where(mass > 0, total / np.where(mass > 0, mass, 1.0), floor)
        return replace(answer(recent, mixed, levels), parts=medians)

    def _shares(self, recent: Frame) -> NDArray[np.float32]:
        """[series, bucket, model]; a series that wasn't there in training gets the mean."""
        known = np.concatenate([self.shares, self.shares.mean(0, keepdims=True)])
        return known[rows_of(self.keys, recent)]


class Ensemble:
    """See the module. `models` are those to mix, by name; seasonal naive is measured against in any case."""

    def __init__(self, models: Mapping[str, Model]) -> None:
        self._models = dict(models)
        self._kept = {**self._models, FLOOR: SeasonalNaive()}

    def fit(self, history: Frame, horizon: int) -> Predictor:
        """See Model."""
        shares = self._compare(history, horizon)
        kept = [m for m in range(len(self._models)) if shares[:, :, m].max(initial=0.0) > _NEGLIGIBLE]
        names = [list(self._models)[m] for m in kept]
        shares = shares[:, :, kept] / shares[:, :, kept].sum(-1, keepdims=True)
        if FLOOR not in names:
            names.append(FLOOR)
            shares = np.concatenate([shares, np.zeros_like(shares[:, :, :1])], -1)
        parts = {name: self._kept[name].fit(history, horizon) for name in names}
        keys = tuple(label_key(labels) for labels in history.labels)
        return EnsemblePredictor(history.step, keys, parts, shares)

    def restore(self, state: State) -> Predictor:
        """See Model."""
        parts = {}
        for name, facts in state.facts["models"].items():
            prefix = f"{name}."
            arrays = {key.removeprefix(prefix): a for key, a in state.arrays.items() if key.startswith(prefix)}
            parts[name] = self._kept[name].restore(State(arrays, facts))
        return EnsemblePredictor(
            float(state.facts["step"]), tuple(state.facts["keys"]), parts, state.arrays["shares"].astype(np.float32)
        )

    def _compare(self, history: Frame, horizon: int) -> NDArray[np.float32]:
        """Weights [series, bucket, model] by a backtest on the last days."""
        grid = Grid(history.step)
        held_out = _held_out(history, grid)
        origins = backtest.origins(history.length, history.length - held_out, grid.steps(_ORIGIN_HOURS))
        past = history.between(0, history.length - held_out)
        if held_out < grid.steps(_LEAST_HELD_OUT_HOURS) or len(origins) < 2:
            return self._untested(len(history.labels))
        leads = min(horizon, held_out)
        spans = _spans(leads, grid)
        results = []
        for model in (SeasonalNaive(), *self._models.values()):
            windows = backtest.windows(model.fit(past, horizon), history, origins, leads, _COMPARED_LEVELS)
            results.append(backtest.score(windows, [span for span in spans if span]))
        shares = np.empty((len(history.labels), len(BUCKET_HOURS), len(self._models)), np.float32)
        compared = zip(*results, strict=True)
        for b, (span, hours) in enumerate(zip(spans, BUCKET_HOURS, strict=True)):
            if span:
                floor, *others = next(compared)
                ratios = np.stack([backtest.relative(score.pinball, floor.pinball) for score in others], -1)
                ratios[:, _repeats(ratios)] = np.nan
                shares[:, b] = self._shares(ratios, floor.windows / _OWN_WINDOWS[hours])
            else:
                shares[:, b] = shares[:, b - 1] if b else self._untested(len(shares))[:, 0]
        return shares

    def _shares(self, ratios: NDArray[np.float64], trust: NDArray[np.float64]) -> NDArray[np.float32]:
        """Weights [series, model] from losses against the floor's, [series, model].

        A series' own result is shrunk towards that of all series, and that towards `_EXPECTED`. A model worse than
        the floor gets nothing; the floor itself only steps in where all others are worse.
        """
        known = ~np.isnan(ratios)
        silent = ~known & known.any(1, keepdims=True)
        logs = np.log(np.clip(np.where(known, ratios, 1.0), 1 / _MOST, _MOST))
        own = np.where(known, trust[:, None], 0.0)
        expected = np.log([_EXPECTED.get(name, 1.0) for name in self._models])
        mass = own.sum(0)
        mean = (own * logs).sum(0) / np.where(mass > 0, mass, 1.0)
        mass = np.minimum(mass, _MOST_POOLED)
        pooled = (mass * mean + expected) / (mass + 1)
        shrunk = (own * logs + pooled) / (own + 1)
        floor = np.array([name == FLOOR for name in self._models])
        out = ~known.any(0) | silent | (shrunk >= 0) | floor
        # Where nothing is left, the floor speaks; where that wasn't asked for, the best of those that were.
        last_resort = floor if floor.any() else known.any(0) & ~silent
        out = np.where(out.all(1, keepdims=True), ~last_resort, out)
        power = np.where(out, 0.0, np.exp(-_POWER * (shrunk - np.where(out, np.inf, shrunk).min(1, keepdims=True))))
        power[power < _NEGLIGIBLE] = 0.0
        shares: NDArray[np.float32] = (power / power.sum(1, keepdims=True)).astype(np.float32)
        return shares

    def _untested(self, series: int) -> NDArray[np.float32]:
        names = list(self._models)
        best = next((name for name in _TRUSTED if name in names), names[0])
        one = np.array([name == best for name in names], np.float32)
        return np.tile(one, (series, len(BUCKET_HOURS), 1))


def _spans(leads: int, grid: Grid) -> list[tuple[int, int] | None]:
    """The leads of each bucket; None for one that has none, or that the held-out days don't reach."""
    ends = [min(leads, int(hours * 3600 / grid.step + 1e-9)) for hours in BUCKET_HOURS[:-1]] + [leads]
    return [(first, last) if last > first else None for first, last in zip([0, *ends], ends, strict=False)]


def _repeats(ratios: NDArray[np.float64]) -> NDArray[np.bool_]:
    """[model]: says the same as one before it, as the LSTM does that learned nothing beyond the stack."""
    return np.array([any(np.array_equal(one, ratios[:, k]) for k in range(m)) for m, one in enumerate(ratios.T)])


def _held_out(history: Frame, grid: Grid) -> int:
    """Columns at the end that the compared models don't train on: a quarter of what is observed, 3 days at most."""
    seen = np.flatnonzero((~np.isnan(history.values)).any(0))
    span = history.length - int(seen[0]) if len(seen) else 0
    return int(min(_HELD_OUT_DAYS * grid.day, _HELD_OUT_SHARE * span))
