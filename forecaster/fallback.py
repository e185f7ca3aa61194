"""Fallback: who speaks for which series, when models were demoted, fail or say nothing that is a number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.demotion import Demoted
from forecaster.forecast import Forecast
from forecaster.frame import Frame
from forecaster.model import Predictor
from forecaster.models.ensemble import FLOOR
from forecaster.parted import PartedPredictor


@dataclass(frozen=True)
class Spoken:
    """A forecast whose every series is finite wherever seasonal naive has one, with the shares that really made it."""

    forecast: Forecast
    weights: dict[str, NDArray[np.float64]]  # model -> [series], in use
    parts: Mapping[str, NDArray[np.floating[Any]]]  # model -> its medians, [series, step]; one that stands alone, too


def speak(
    predictor: PartedPredictor,
    frame: Frame,
    keys: Sequence[str],
    horizon: int,
    levels: tuple[float, ...],
    demoted: Demoted,
) -> Spoken:
    """Predict with `predictor`, without what is demoted; its floor steps in where nothing else is left.

    `keys` are the `label_key`s of the frame's series, in which order `demoted` is, too.
    """
    heard = _without(predictor, keys, demoted)
    forecast = heard.predict(frame, horizon, levels)
    weights = {name: np.array(share) for name, share in heard.weights(frame).items()}
    finite = np.asarray(np.isfinite(forecast.values).all((1, 2)))
    own = np.tile(finite[:, None], horizon)  # [series, step]: what is not the floor's
    alone = heard.alone(keys)
    for name in weights.keys() & demoted.since.keys() if alone.any() else ():
        own &= ~(_out(demoted, name, forecast) & (alone & (weights[name] > 0))[:, None])
    _without_silent(weights, forecast.parts)
    return Spoken(*_floored(forecast, weights, own, frame, heard.floor), forecast.parts)


def floor_alone(floor: Predictor, frame: Frame, horizon: int, levels: tuple[float, ...]) -> Spoken:
    """What `floor`, a seasonal naive, says about all of `frame`, with nothing learned about any other model."""
    return Spoken(floor.predict(frame, horizon, levels), {FLOOR: np.ones(len(frame.labels))}, {})


def _without(predictor: PartedPredictor, keys: Sequence[str], demoted: Demoted) -> PartedPredictor:
    for h, (first, last) in enumerate(_spans(demoted.leads)):
        out = {
            name: [keys[i] for i in np.flatnonzero(~np.isnan(since[:, h])).tolist()]
            for name, since in demoted.since.items()
        }
        if any(out.values()):
            predictor = predictor.without(out, (first / 3600, last / 3600))
    return predictor


def _spans(leads: tuple[float, ...]) -> list[tuple[float, float]]:
    """The seconds ahead that each lead's verdict stands for: those after the lead before, up to itself."""
    return list(zip((0.0, *leads[:-1]), (*leads[:-1], math.inf), strict=True))


def _out(demoted: Demoted, name: str, forecast: Forecast) -> NDArray[np.bool_]:
    """[series, step]: where a model that stands alone is out."""
    ahead = forecast.step * np.arange(1, forecast.horizon + 1)
    inside = np.array([(ahead > first) & (ahead <= last) for first, last in _spans(demoted.leads)])
    out: NDArray[np.bool_] = (~np.isnan(demoted.since[name])) @ inside
    return out


def _without_silent(weights: dict[str, NDArray[np.float64]], parts: Mapping[str, NDArray[np.floating[Any]]]) -> None:
    """Take the share of a model that says nothing about a series from it; the others have it in their proportion.

    Where none with a share says anything, an ensemble's floor has spoken.
    """
    spoke = {name: np.isfinite(parts[name][:, 0]) for name in weights}
    heard = {name: share * spoke[name] for name, share in weights.items()}
    total = np.sum(list(heard.values()), axis=0)
    if FLOOR in heard:
        heard[FLOOR] = np.where((total == 0) & spoke[FLOOR], 1.0, heard[FLOOR])
        total = np.sum(list(heard.values()), axis=0)
    for name, share in weights.items():
        weights[name] = np.where(total > 0, heard[name] / np.where(total > 0, total, 1.0), share)


def _floored(
    forecast: Forecast,
    weights: dict[str, NDArray[np.float64]],
    own: NDArray[np.bool_],
    frame: Frame,
    floor: Predictor,
) -> tuple[Forecast, dict[str, NDArray[np.float64]]]:
    """`forecast` and `weights` with `floor` in place of every step that isn't `own` [series, step]."""
    rows = np.flatnonzero(~own.all(1))
    if not len(rows):
        return forecast, weights
    instead = floor.predict(frame.select(rows), forecast.horizon, forecast.levels).values
    values = forecast.values.copy()
    values[rows] = np.where(own[rows, :, None], values[rows], instead)
    share = own.mean(1)
    weights = {name: had * share for name, had in weights.items()}
    weights[FLOOR] = weights.get(FLOOR, 0.0) + (1 - share)
    return replace(forecast, values=values), weights
