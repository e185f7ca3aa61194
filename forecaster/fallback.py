"""Fallback: who speaks for which series, when models were demoted, fail or say nothing that is a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from forecaster.demotion import Demoted
from forecaster.forecast import Forecast
from forecaster.frame import Frame
from forecaster.model import Predictor
from forecaster.models.ensemble import FLOOR, EnsemblePredictor
from forecaster.models.seasonal_naive import SeasonalNaive


@dataclass(frozen=True)
class Spoken:
    """A forecast whose every series is finite wherever seasonal naive has one, with the shares that really made it."""

    forecast: Forecast
    weights: dict[str, NDArray[np.float64]]  # model -> [series], in use
    parts: Mapping[str, NDArray[np.float32]]  # model -> its medians, [series, step]; a model that stands alone as well


def speak(
    predictor: Predictor, frame: Frame, keys: Sequence[str], horizon: int, levels: tuple[float, ...], demoted: Demoted
) -> Spoken:
    """Predict with `predictor`, without what is demoted; seasonal naive steps in where nothing else is left.

    `keys` are the `label_key`s of the frame's series, in which order `demoted` is, too.
    """
    heard = _without(predictor, keys, demoted)
    forecast = heard.predict(frame, horizon, levels)
    weights = {name: np.array(share) for name, share in heard.weights(frame).items()}
    alone = not isinstance(heard, EnsemblePredictor)
    parts = {name: _median(forecast) for name in weights} if alone else forecast.parts
    last_word = np.full(len(keys), horizon)  # steps up to here are the predictor's own, the rest is the floor's
    if alone:
        for name in weights.keys() & demoted.since.keys():
            last_word = _good_steps(demoted.leads, demoted.since[name], forecast)
    last_word[~np.isfinite(forecast.values).all((1, 2))] = 0
    _without_silent(weights, parts)
    return Spoken(*_floored(forecast, weights, last_word, frame), parts)


def floor_alone(frame: Frame, horizon: int, levels: tuple[float, ...]) -> Spoken:
    """What seasonal naive says about all of `frame`, with nothing learned from it about any other model."""
    forecast = SeasonalNaive().fit(frame, horizon).predict(frame, horizon, levels)
    return Spoken(forecast, {FLOOR: np.ones(len(frame.labels))}, {})


def _without(predictor: Predictor, keys: Sequence[str], demoted: Demoted) -> Predictor:
    if not isinstance(predictor, EnsemblePredictor):
        return predictor
    for h, lead in enumerate(demoted.leads):
        out = {
            name: [keys[i] for i in np.flatnonzero(~np.isnan(since[:, h])).tolist()]
            for name, since in demoted.since.items()
        }
        if any(out.values()):
            predictor = predictor.without(out, lead / 3600)
    return predictor


def _median(forecast: Forecast) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return forecast.values[:, :, forecast.levels.index(0.5)].astype(np.float32)


def _good_steps(leads: tuple[float, ...], since: NDArray[np.float64], forecast: Forecast) -> NDArray[np.intp]:
    """[series]: up to the longest lead before the first at which a model that stands alone is out."""
    out = ~np.isnan(since)
    ends = np.array([0, *(round(lead / forecast.step) for lead in leads[:-1])])
    good: NDArray[np.intp] = np.where(out.any(1), ends[out.argmax(1)], forecast.horizon)
    return good


def _without_silent(weights: dict[str, NDArray[np.float64]], parts: Mapping[str, NDArray[np.float32]]) -> None:
    """Take the share of a model that says nothing about a series from it; the others have it in their proportion."""
    heard = {name: share * np.isfinite(parts[name][:, 0]) for name, share in weights.items()}
    total = np.sum(list(heard.values()), axis=0)
    for name, share in weights.items():
        weights[name] = np.where(total > 0, heard[name] / np.where(total > 0, total, 1.0), share)


def _floored(
    forecast: Forecast, weights: dict[str, NDArray[np.float64]], last_word: NDArray[np.intp], frame: Frame
) -> tuple[Forecast, dict[str, NDArray[np.float64]]]:
    """`forecast` and `weights` with seasonal naive in place of every step from `last_word` on."""
    rows = np.flatnonzero(last_word < forecast.horizon)
    if not len(rows):
        return forecast, weights
    part = frame.select(rows)
    floor = SeasonalNaive().fit(part, forecast.horizon).predict(part, forecast.horizon, forecast.levels)
    values = forecast.values.copy()
    own = np.arange(forecast.horizon) < last_word[rows, None]
    values[rows] = np.where(own[:, :, None], values[rows], floor.values)
    share = last_word / forecast.horizon
    weights = {name: had * share for name, had in weights.items()}
    weights[FLOOR] = weights.get(FLOOR, 0.0) + (1 - share)
    return replace(forecast, values=values), weights
