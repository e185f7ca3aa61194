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
from forecaster.models import trial
from forecaster.models.answer import answer, check_step, rows_of
from forecaster.models.grid import Grid
from forecaster.models.lstm import readable
from forecaster.models.robust import quantiles
from forecaster.models.seasonal_naive import SeasonalNaive
from forecaster.models.stack import FADE, blend
from forecaster.models.trial import BUCKET_HOURS, Trial

FLOOR = "seasonal_naive"

_MIDDLE = len(QUANTILE_GRID) // 2

_POWER = 8.0
_OWN_WINDOWS = (36.0, 36.0, 60.0, 60.0, 60.0)
"""Windows per bucket at which a series' own result counts as much as what was known before: a few days prove little,
and windows of long leads overlap."""
_EXPECTED = {
    "ar": (0.43, 0.49, 0.76, 1.9, 1.9),
    "lstm": (0.44, 0.48, 0.73, 0.73, 0.73),
    "profile": (0.52, 0.56, 0.75, 0.75, 0.75),
    "ridge": (0.55, 0.60, 0.95, 0.95, 0.95),
    "prophet": (1.1,) * 5,
}
"""Loss against the floor's that models had on recorded series, per bucket: where trust begins."""
_MOST_POOLED = 2.0
"""What all series together count against `_EXPECTED`: many series in the same three days are no proof either."""
_MOST = 4.0
"""A ratio further from 1 than this says no more: series on which one side is nearly perfect."""
_NEGLIGIBLE = 0.01
_STRETCH_TRUST, _STRETCH_SERIES, _MOST_STRETCH = 0.5, 8.0, 2.0
_AT_ONCE = 500
"""Series predicted together: memory stays small when there are thousands."""

_TRUSTED = ("lstm", "profile", "ridge", "ar", "prophet", FLOOR)
"""Which model to take when the history is too short to compare: the first that is there."""


@dataclass(frozen=True)
class EnsemblePredictor:
    """Trained models, the floor always among them, and their weights [series, bucket, model]."""

    step: float
    keys: tuple[str, ...]
    parts: Mapping[str, Predictor]
    shares: NDArray[np.float32]
    stretch: NDArray[np.float32]  # [series, bucket]: of the band around its median

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
        shares = _with_mean(self.shares)[rows_of(self.keys, recent)][:, :-1].mean(1).astype(np.float64)
        return {name: shares[:, m] for m, name in enumerate(self.parts)}

    def state(self) -> State:
        """See Predictor. The models' arrays are named after them: `profile.weights`."""
        arrays: dict[str, NDArray[np.generic]] = {"shares": self.shares, "stretch": self.stretch}
        facts = {}
        for name, predictor in self.parts.items():
            part = predictor.state()
            arrays |= {f"{name}.{key}": array for key, array in part.arrays.items()}
            facts[name] = dict(part.facts)
        return State(arrays, {"step": self.step, "keys": list(self.keys), "models": facts})

    def _mixed(self, recent: Frame, horizon: int, levels: tuple[float, ...]) -> Forecast:
        by_lead = blend(Grid(self.step).hours(np.arange(horizon)), BUCKET_HOURS, FADE)
        rows = rows_of(self.keys, recent)  # -1, the last one, for a series that wasn't there in training: the mean
        shares = np.einsum("lb,nbm->mnl", by_lead, _with_mean(self.shares)[rows])
        stretch = np.einsum("lb,nb->nl", by_lead, _with_mean(self.stretch)[rows])[:, :, None]
        total = np.zeros((len(recent.labels), horizon, len(QUANTILE_GRID)))
        mass = np.zeros((len(recent.labels), horizon, 1))
        medians = {}
        for (name, predictor), share in zip(self.parts.items(), shares, strict=True):
            if name != FLOOR:
                said = predictor.predict(recent, horizon, tuple(QUANTILE_GRID)).values
                medians[name] = said[:, :, _MIDDLE]
                # A model may be silent about a series (infinity says nothing either); those with a share speak for it.
                spoken = np.where(np.isfinite(said).all(-1, keepdims=True), share[:, :, None], 0.0)
                total += np.where(spoken > 0, said, 0.0) * spoken
                mass += spoken
        mixed = np.where(mass > 0, total / np.where(mass > 0, mass, 1.0), np.nan)
        middle = mixed[:, :, _MIDDLE, None]
        mixed = middle + stretch * (mixed - middle)
        if FLOOR in self.parts:
            share = shares[list(self.parts).index(FLOOR), :, :, None]
            floor = self._floor(recent, horizon, np.flatnonzero((share > 0).any((1, 2)) | (mass == 0).any((1, 2))))
            medians[FLOOR] = floor[:, :, _MIDDLE]
            mixed = np.where(mass == 0, floor, np.where(share > 0, share * floor + (1 - share) * mixed, mixed))
        return replace(answer(recent, mixed, levels), parts=medians)

    def _floor(self, recent: Frame, horizon: int, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """What seasonal naive says of the series at `rows`, NaN for the others: it is seldom asked."""
        said = np.full((len(recent.labels), horizon, len(QUANTILE_GRID)), np.nan)
        if len(rows):
            said[rows] = self.parts[FLOOR].predict(recent.select(rows), horizon, tuple(QUANTILE_GRID)).values
        return said


class Ensemble:
    """See the module. `models` are those to mix, by name; `floor`, seasonal naive, is measured against in any case."""

    def __init__(self, models: Mapping[str, Model], floor: Model | None = None) -> None:
        self._models = dict(models)
        self._floor = floor or SeasonalNaive()
        self._kept = {**self._models, FLOOR: self._floor}

    def fit(self, history: Frame, horizon: int) -> Predictor:
        """See Model."""
        names = list(self._models)
        others = [name for name in names if name != FLOOR]
        shares = self._untested(history)
        stretch = np.ones(shares.shape[:2], np.float32)
        found = trial.trial([self._floor, *(self._models[name] for name in others)], history, horizon)
        if found is not None:
            floor = found.of([0])
            found = found.of([0 if name == FLOOR else 1 + others.index(name) for name in names])
            shares = self._weighed(found, floor, shares)
            stretch = _stretch(found, shares)
        kept = [m for m in range(len(names)) if shares[:, :, m].max(initial=0.0) > _NEGLIGIBLE]
        names = [names[m] for m in kept]
        shares = shares[:, :, kept] / shares[:, :, kept].sum(-1, keepdims=True)
        if FLOOR not in names:
            names.append(FLOOR)
            shares = np.concatenate([shares, np.zeros_like(shares[:, :, :1])], -1)
        parts = {name: self._kept[name].fit(history, horizon) for name in names}
        keys = tuple(label_key(labels) for labels in history.labels)
        return EnsemblePredictor(history.step, keys, parts, shares, stretch)

    def restore(self, state: State) -> Predictor:
        """See Model."""
        parts = {}
        for name, facts in state.facts["models"].items():
            prefix = f"{name}."
            arrays = {key.removeprefix(prefix): a for key, a in state.arrays.items() if key.startswith(prefix)}
            parts[name] = self._kept[name].restore(State(arrays, facts))
        shares, stretch = (_by_bucket(state.arrays[name].astype(np.float32)) for name in ("shares", "stretch"))
        return EnsemblePredictor(float(state.facts["step"]), tuple(state.facts["keys"]), parts, shares, stretch)

    def _weighed(self, found: Trial, floor: Trial, untested: NDArray[np.float32]) -> NDArray[np.float32]:
        """Weights [series, bucket, model] by what the models, and the floor, said in a trial; else `untested`."""
        shares = untested.copy()
        for b, leads in enumerate(found.buckets()):
            if not len(leads):
                shares[:, b] = shares[:, max(b - 1, 0)]
                continue
            ratios = backtest.relative(found.losses(leads), floor.losses(leads))
            ratios[:, _repeats(ratios)] = np.nan
            if not np.isnan(ratios).all():
                shares[:, b] = self._shares(ratios, found.windows(leads) / _OWN_WINDOWS[b], b)
        return shares

    def _shares(self, ratios: NDArray[np.float64], trust: NDArray[np.float64], bucket: int) -> NDArray[np.float32]:
        """Weights [series, model] in a bucket from losses against the floor's there, [series, model].

        A series' own result is shrunk towards that of all series, and that towards `_EXPECTED`. A model worse than
        the floor gets nothing; the floor itself only steps in where all others are worse.
        """
        known = ~np.isnan(ratios)
        silent = ~known & known.any(1, keepdims=True)
        logs = np.log(np.clip(np.where(known, ratios, 1.0), 1 / _MOST, _MOST))
        own = np.where(known, trust[:, None], 0.0)
        expected = np.log([_EXPECTED[name][bucket] if name in _EXPECTED else 1.0 for name in self._models])
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

    def _untested(self, history: Frame) -> NDArray[np.float32]:
        """Weights [series, bucket, model] where there is nothing to go by: all to one model."""
        names = list(self._models)
        trusted = [name for name in _TRUSTED if name != "lstm" or readable(Grid(history.step))]
        best = next((name for name in trusted if name in names), names[0])
        one = np.array([name == best for name in names], np.float32)
        return np.tile(one, (len(history.labels), len(BUCKET_HOURS), 1))


def _by_bucket(stored: NDArray[np.float32]) -> NDArray[np.float32]:
    """[series, bucket, ...] as stored; what 0.1 wrote until November 2026 has one bucket for the whole first hour."""
    return np.concatenate([stored[:, :1], stored], 1) if stored.shape[1] == len(BUCKET_HOURS) - 1 else stored


def _with_mean(by_series: NDArray[np.float32]) -> NDArray[np.float32]:
    """One more row at the end, the mean of all."""
    return np.concatenate([by_series, by_series.mean(0, keepdims=True)])


def _repeats(ratios: NDArray[np.float64]) -> NDArray[np.bool_]:
    """[model]: says the same as one before it, as the LSTM does that learned nothing beyond the stack."""
    return np.array([any(np.array_equal(one, ratios[:, k]) for k in range(m)) for m, one in enumerate(ratios.T)])


def _stretch(found: Trial, shares: NDArray[np.float32]) -> NDArray[np.float32]:
    """How far the mix's band must be stretched around its median to hold as much as it says, [series, bucket].

    Split conformal prediction (Vovk et al., 2005) on the mix: of each actual's distance from the median, in half-widths
    of the band on its side, the quantile that the band should reach. It is only followed part of the way, further with
    more series: the few held-out days overlap, and may be calmer or wilder than those to come.
    """
    stretch = np.ones(shares.shape[:2], np.float32)
    nominal = trial.LEVELS[-1] - trial.LEVELS[0]
    middle = len(trial.LEVELS) // 2
    for b, leads in enumerate(found.buckets()):
        if not len(leads):
            stretch[:, b] = stretch[:, b - 1] if b else 1.0
            continue
        said = found.said[:, :, :, leads]
        share = np.where(np.isnan(said[..., :1]), 0.0, shares[:, b].T[:, :, None, None, None] + 1e-9)
        mixed = (np.nan_to_num(said) * share).sum(0) / np.maximum(share.sum(0), 1e-12)
        off = found.came[:, :, leads] - mixed[..., middle]
        half = np.where(off > 0, mixed[..., -1] - mixed[..., middle], mixed[..., middle] - mixed[..., 0])
        reach = np.where(half > 0, np.abs(off) / np.where(half > 0, half, 1.0), np.nan).reshape(len(stretch), -1)
        pooled = np.log(np.clip(quantiles(reach.reshape(1, -1), [nominal])[0, 0], 1 / _MOST_STRETCH, _MOST_STRETCH))
        stretch[:, b] = np.exp(_STRETCH_TRUST * len(stretch) / (len(stretch) + _STRETCH_SERIES) * np.nan_to_num(pooled))
    return stretch
