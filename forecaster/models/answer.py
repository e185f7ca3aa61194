"""From quantiles on the inner grid to a Forecast that keeps its promises: order, sign, constants, nothing made up."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from forecaster.forecast import Forecast
from forecaster.frame import Frame
from forecaster.model import QUANTILE_GRID, label_key
from forecaster.models.robust import level_weights

FEWEST_POINTS = 3
"""A series with fewer observations gets no forecast: there is nothing to tell its band from."""


def answer(recent: Frame, quantiles: NDArray[np.float64], levels: tuple[float, ...]) -> Forecast:
    """The Forecast of `quantiles` [series, lead, level of QUANTILE_GRID] in the series' own units.

    Quantiles are sorted, not below 0 where the series never was, the constant itself for a constant series,
    and NaN for a series with fewer than `FEWEST_POINTS` observations.
    """
    seen = ~np.isnan(recent.values)
    lowest = np.min(np.where(seen, recent.values, np.inf), axis=1, initial=np.inf)
    highest = np.max(np.where(seen, recent.values, -np.inf), axis=1, initial=-np.inf)
    floor = np.where(lowest >= 0, 0.0, -np.inf)[:, None, None]
    # Before the asked levels are read off, too: an ensemble of one is then that one.
    inner = np.maximum(np.sort(quantiles, axis=-1), floor)
    values = np.maximum(np.sort(inner @ level_weights(QUANTILE_GRID, levels), axis=-1), floor)
    values = np.where((lowest == highest)[:, None, None], lowest[:, None, None], values)
    values[seen.sum(1) < FEWEST_POINTS] = np.nan
    return Forecast(recent.end + recent.step, recent.step, levels, recent.labels, values)


def alone(name: str, recent: Frame) -> Mapping[str, NDArray[np.float64]]:
    """The weights of a model that stands alone."""
    return {name: np.ones(len(recent.labels))}


def check_step(expected: float, recent: Frame) -> None:
    """Raise ValueError when a Predictor is handed another step than it was trained on."""
    if abs(recent.step - expected) > 1e-9 * expected:
        raise ValueError(f"trained on a step of {expected:g} s, asked with one of {recent.step:g} s")


def rows_of(keys: tuple[str, ...], recent: Frame) -> NDArray[np.intp]:
    """For each series of `recent` its row in training (`keys` as label_key gives them), -1 if it wasn't there."""
    known = {key: row for row, key in enumerate(keys)}
    return np.array([known.get(label_key(labels), -1) for labels in recent.labels], np.intp)
