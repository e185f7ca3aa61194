"""Backtest: forecasts from origins inside the history against what came, and how they compare with the floor.

A Window is one origin, a Backtest all of them. Whoever is tested is given the columns before the origin, no others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecaster.forecast import Forecast
from forecaster.frame import Frame
from forecaster.model import Model, Predictor

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Window:
    """One rolling-origin comparison: `forecast` knows the columns before `origin`, `actual` [series, lead] came then.

    NaN in `actual` is a gap, or after the end of the Frame.
    """

    origin: int
    forecast: Forecast
    actual: Floats

    def absolute_error(self) -> Floats:
        """|actual - median| by series and lead; the middle level stands for the median if 0.5 is not among them."""
        levels = np.array(self.forecast.levels)
        middle = int(np.abs(levels - 0.5).argmin())
        error: Floats = np.abs(self.actual - self.forecast.values[:, :, middle])
        return error

    def pinball(self) -> Floats:
        """Quantile loss, mean over levels, by series and lead: max(a (y - q), (a - 1) (y - q)) for level a."""
        levels = np.array(self.forecast.levels)
        gap = self.actual[:, :, None] - self.forecast.values
        loss: Floats = np.maximum(levels * gap, (levels - 1) * gap).mean(-1)
        return loss

    def inside(self) -> Floats:
        """1 where the actual lies between the lowest and the highest level, else 0; NaN where it is unknown."""
        values = self.forecast.values
        held = (self.actual >= values[:, :, 0]) & (self.actual <= values[:, :, -1])
        known = ~np.isnan(self.actual) & ~np.isnan(values[:, :, 0])
        share: Floats = np.where(known, held, np.nan)
        return share


@dataclass(frozen=True)
class Scores:
    """Means over the windows, by series, of some leads; NaN for a series that could not be compared."""

    absolute_error: Floats
    pinball: Floats
    coverage: Floats  # share between the outermost levels


@dataclass(frozen=True)
class Backtest:
    """All windows of one model."""

    windows: tuple[Window, ...]

    def scores(self, first: int, last: int) -> Scores:
        """Of the leads from `first` up to, not including, `last` (0 is the first step after the origin).

        Every observed point counts the same.
        """
        measures = np.stack([[one.absolute_error(), one.pinball(), one.inside()] for one in self.windows])
        cut = measures[..., first:last]  # [window, measure, series, lead]
        known = ~np.isnan(cut[:, 1:2])
        count = known.sum((0, 3))
        total = np.where(known, cut, 0.0).sum((0, 3))
        error, loss, inside = total / np.where(count > 0, count, np.nan)
        return Scores(error, loss, inside)


def origins(length: int, first: int, every: int) -> tuple[int, ...]:
    """Origins from column `first` on, `every` steps apart, with at least one column after the last."""
    return tuple(range(first, length, every))


def run(
    predictor: Predictor, frame: Frame, origins: Sequence[int], horizon: int, levels: tuple[float, ...]
) -> Backtest:
    """Let a Predictor trained on the columns before the first origin forecast from each of them."""
    return Backtest(tuple(_window(predictor, frame, origin, horizon, levels) for origin in origins))


def refitted(model: Model, frame: Frame, origins: Sequence[int], horizon: int, levels: tuple[float, ...]) -> Backtest:
    """Train anew at each origin: dearer, and what a service that retrains would have done."""
    found = []
    for origin in origins:
        predictor = model.fit(frame.between(0, origin), horizon)
        found.append(_window(predictor, frame, origin, horizon, levels))
    return Backtest(tuple(found))


def relative(mine: Floats, floor: Floats) -> Floats:
    """Ratio of losses by series: below 1 is better than the floor. NaN where either is unknown.

    Two perfect forecasts are 1, an imperfect one against a perfect floor is inf. With absolute errors and seasonal
    naive as the floor this is the relative MASE, whose scale cancels.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = mine / floor
    return np.where((mine == 0) & (floor == 0), 1.0, ratio)


def _window(predictor: Predictor, frame: Frame, origin: int, horizon: int, levels: tuple[float, ...]) -> Window:
    actual = np.full((len(frame.labels), horizon), np.nan)
    came = frame.values[:, origin : origin + horizon]
    actual[:, : came.shape[1]] = came
    return Window(origin, predictor.predict(frame.between(0, origin), horizon, levels), actual)
