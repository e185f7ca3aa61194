"""Evaluation: how good a forecast is on its own history, in figures by series and horizon.

A Study is what is tested, a Result what came of it. Errors are means over all steps up to a horizon, and every one is
set against seasonal naive from the same origin (Hyndman & Koehler 2006; the quantile loss as in GluonTS).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
from numpy.typing import NDArray

from cloudpulse.durations import Duration
from forecaster import backtest
from forecaster.backtest import Floats, Window
from forecaster.config import Bounds
from forecaster.forecast import Forecast, joined
from forecaster.frame import TOGETHER, Frame
from forecaster.model import Predictor
from forecaster.models.grid import Grid
from forecaster.models.seasonal_naive import SeasonalNaive

TEST_DAYS, LEAST_TEST_DAYS = 7.0, 3.0
"""Origins lie in the last week; where the history is short, in fewer days, so that more is left to train on."""
_AT_ONCE = 200
_GOLDEN = 0.618034
_MOST = 100.0
"""A ratio further from 1 than this says no more: series on which one side is nearly perfect."""


@dataclass(frozen=True)
class Study:
    """A forecast to be tested on `frame`; each training sees at most `history` columns."""

    frame: Frame
    history: int
    horizons: tuple[Duration, ...]  # rising, each at least a step
    levels: tuple[float, ...]  # rising, 0.5 among them
    train: Callable[[Frame, int], Predictor]  # on what lies before an origin, for so many steps
    bounds: Bounds = field(default_factory=Bounds)

    def steps(self, horizon: Duration) -> int:
        """Whole steps up to `horizon`."""
        return int(horizon / self.frame.step + 1e-9)


@dataclass(frozen=True)
class Figures:
    """Figures of the steps up to one horizon, by series; NaN where nothing could be compared."""

    horizon: Duration
    points: NDArray[np.intp]  # observations compared, over all origins
    mae: Floats  # of the median
    floor_mae: Floats  # of seasonal naive
    mase: Floats  # mae / floor_mae; below 1 is better than seasonal naive. NaN where both are perfect
    wql: Floats  # quantile loss, mean over levels, over that of seasonal naive
    band: Floats  # share between the outermost levels
    coverage: Floats  # [series, level]: share at or under each level
    bias: Floats  # mean signed error over floor_mae; above 0 forecasts were too high


@dataclass(frozen=True)
class Summary:
    """Figures of the series that could be compared; NaN where none could."""

    series: int  # those that have a MASE; the others count nowhere
    mae: float
    mase: float  # geometric mean over series, as is wql
    wql: float
    band: float  # every observation counts the same, as in coverage
    coverage: Floats  # [level]
    bias: float
    worse: float  # share of series with a MASE above 1


@dataclass(frozen=True)
class Result:
    """A Study's windows, one an origin, those of seasonal naive beside them, and figures by horizon."""

    study: Study
    windows: tuple[Window, ...]
    floor: tuple[Window, ...]
    figures: tuple[Figures, ...]
    weights: Mapping[str, float]  # model -> mean share in the forecasts


def reach(history: float, horizon: float) -> float:
    """Seconds of history to read, so that every training can see `history` seconds."""
    return history + TEST_DAYS * 86400 + horizon


def origins(length: int, study: Study, horizon: int, count: int) -> tuple[int, ...]:
    """Up to `count` first predicted columns, one in each equal part of the days that are tested.

    Golden-section fractions make their times of day differ: of the day, where a part has one, else of the part. Before
    the first there are at least a day and half of what is known; none if that leaves no room for `horizon` columns.
    """
    day = Grid(study.frame.step).day
    last = length - horizon
    span = min(max(last - study.history, LEAST_TEST_DAYS * day), TEST_DAYS * day)
    first = max(int(last - span), last // 2, day)
    if last < first:
        return ()
    part = (last - first) / count
    found = set()
    for i in range(count):
        begin, golden = first + i * part, _GOLDEN * (i + 1) % 1
        found.add(int(begin + ((golden * day - begin) % day if part >= day else golden * part)))
    return tuple(sorted(found))


def evaluate(study: Study, at: Sequence[int], done: Callable[[int], None] = lambda _: None) -> Result:
    """Train anew at each origin of `at` on what lies before it, and compare with what came.

    `done` is told the number of series trained, origin by origin.
    """
    steps = study.steps(study.horizons[-1])
    mine, floor, weights = [], [], []
    for origin in at:
        past = study.frame.between(max(0, origin - study.history), origin)
        forecasts = []
        for part in past.parts(TOGETHER):
            predictor = study.train(part, steps)
            forecasts.append(predictor.predict(part, steps, study.levels))
            weights.append(predictor.weights(part))
            done(len(part.labels))
        naive = SeasonalNaive().fit(past, steps).predict(past, steps, study.levels)
        actual = study.frame.values[:, origin : origin + steps]
        mine.append(Window(origin, _bounded(joined(forecasts), study.bounds), actual))
        floor.append(Window(origin, _bounded(naive, study.bounds), actual))
    figures = tuple(_figures(mine, floor, horizon, study.steps(horizon)) for horizon in study.horizons)
    return Result(study, tuple(mine), tuple(floor), figures, _mean_shares(weights))


def summary(figures: Figures) -> Summary:
    """All series together."""
    compared = ~np.isnan(figures.mase)
    points = np.where(compared, figures.points, 0)
    whole = points.sum() or np.nan
    pooled = (np.nan_to_num(figures.coverage) * points[:, None]).sum(0) / whole
    return Summary(
        series=int(compared.sum()),
        mae=float(mean(np.where(compared, figures.mae, np.nan))),
        mase=_geometric(figures.mase),
        wql=_geometric(figures.wql),
        band=float((np.nan_to_num(figures.band) * points).sum() / whole),
        coverage=pooled,
        bias=float(mean(np.where(np.isfinite(figures.bias), figures.bias, np.nan))),
        worse=float(mean(np.where(compared, figures.mase > 1, np.nan))),
    )


def by_lead(windows: Sequence[Window], scale: Floats) -> Floats:
    """Mean absolute error by lead, over all windows and series, each series in units of its `scale`."""
    error = np.stack([window.absolute_error() for window in windows])
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = error / scale[:, None]
    return mean(np.where(np.isfinite(scaled), scaled, np.nan).reshape(-1, error.shape[-1]), 0)


def mean(values: Floats, axis: int | tuple[int, ...] | None = None) -> Floats:
    """Mean of what is known; NaN where nothing is."""
    known = ~np.isnan(values)
    count = known.sum(axis)
    total: Floats = np.where(known, values, 0.0).sum(axis) / np.where(count > 0, count, np.nan)
    return total


def _figures(mine: Sequence[Window], floor: Sequence[Window], horizon: Duration, steps: int) -> Figures:
    """Some hundred series at a time, so that memory stays small when there are thousands."""
    series = len(mine[0].actual)
    parts = []
    for first in range(0, max(series, 1), _AT_ONCE):
        rows = slice(first, first + _AT_ONCE)
        own, naive = (np.concatenate([_measures(_cut(one, rows, steps)) for one in side], 2) for side in (mine, floor))
        parts.append(_compared(own, naive, horizon))
    measured = [one.name for one in fields(Figures) if one.name != "horizon"]
    return Figures(horizon, **{name: np.concatenate([getattr(part, name) for part in parts]) for name in measured})


def _compared(own: Floats, naive: Floats, horizon: Duration) -> Figures:
    """From the measures [measure, series, step] of a forecast and of seasonal naive."""
    unknown = np.isnan(own[0]) | np.isnan(naive[0])
    own, naive = np.where(unknown, np.nan, own), np.where(unknown, np.nan, naive)
    points = (~unknown).sum(1)
    error, loss, signed, inside = mean(own[:4], 2)
    floor_error, floor_loss = mean(naive[:2], 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        bias = signed / floor_error
    mase, wql = backtest.relative(error, floor_error), backtest.relative(loss, floor_loss)
    perfect = (error == 0) & (floor_error == 0)
    return Figures(
        horizon=horizon,
        points=points,
        mae=error,
        floor_mae=floor_error,
        mase=np.where(perfect, np.nan, mase),
        wql=np.where(perfect, np.nan, wql),
        band=inside,
        coverage=mean(own[4:], 2).T,
        bias=np.where(np.isfinite(bias), bias, np.nan),
    )


def _cut(window: Window, rows: slice, steps: int) -> Window:
    said = window.forecast
    cut = replace(said, labels=said.labels[rows], values=said.values[rows, :steps], parts={})
    return Window(window.origin, cut, window.actual[rows, :steps])


def _measures(window: Window) -> Floats:
    """[measure, series, lead]: |error|, quantile loss, signed error, inside the band, at or under each level."""
    values, actual = window.forecast.values, window.actual
    middle = window.forecast.levels.index(0.5)
    unknown = np.isnan(actual[:, :, None]) | np.isnan(values)
    under = np.where(unknown, np.nan, actual[:, :, None] <= values)
    single = (window.absolute_error(), window.pinball(), values[:, :, middle] - actual, window.inside())
    return np.stack([*single, *np.moveaxis(under, -1, 0)])


def _geometric(ratios: Floats) -> float:
    known = ratios[~np.isnan(ratios)]
    return float(np.exp(np.log(np.clip(known, 1 / _MOST, _MOST)).mean())) if len(known) else float("nan")


def _bounded(forecast: Forecast, bounds: Bounds) -> Forecast:
    low = -np.inf if bounds.min is None else bounds.min
    high = np.inf if bounds.max is None else bounds.max
    return replace(forecast, values=np.clip(forecast.values, low, high))


def _mean_shares(weights: Sequence[Mapping[str, Floats]]) -> dict[str, float]:
    names = dict.fromkeys(name for one in weights for name in one)
    series = sum(len(next(iter(one.values()))) for one in weights)
    return {name: sum(float(one[name].sum()) for one in weights if name in one) / series for name in names}
