"""Prophet on hourly means: its daily and weekly seasons on a flat trend, pulled to the level of the last hour.

Alone it ignores the last residual and is the dearest model by far; in the ensemble it is worth its time for
horizons of more than 6 h. Prophet runs in training only: what is kept is the season of each series, 168 numbers.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.forecast import Forecast
from forecaster.frame import Frame
from forecaster.model import Predictor, State, label_key
from forecaster.models.answer import alone, answer, check_step, rows_of
from forecaster.models.grid import Grid
from forecaster.models.robust import first_known, mean, median
from forecaster.models.stack import BAND_HOURS, ORIGIN_HOURS, ORIGINS, blend, residual_bands

HOUR, WEEK_HOURS = 3600.0, 168
_DAILY_TERMS, _WEEKLY_TERMS = 8, 3
_LEAST_DAYS, _LEAST_DAYS_FOR_WEEK = 3, 13
_DECAY_HOURS = 6.0
_FADE = 1.2


@dataclass(frozen=True)
class ProphetPredictor:
    """`season[i, k]` is what hour k of the week (from Thursday 1 January 1970, 0 h UTC) is like, for fitted series."""

    step: float
    keys: tuple[str, ...]
    season: NDArray[np.float64]  # [N, WEEK_HOURS], at the middle of each hour
    bands: NDArray[np.float64]  # [N, band, level of QUANTILE_GRID]

    def predict(self, recent: Frame, horizon: int, levels: tuple[float, ...]) -> Forecast:
        """See Predictor. NaN for series that Prophet wasn't fitted on."""
        check_step(self.step, recent)
        grid = Grid(self.step)
        hours = grid.hours(np.arange(horizon))
        rows = rows_of(self.keys, recent)  # -1, the last one, where there is none
        season = np.concatenate([self.season, np.full((1, WEEK_HOURS), np.nan)])[rows]
        bands = np.concatenate([self.bands, np.zeros((1, *self.bands.shape[1:]))])[rows]
        values = grid.align(recent.values)
        point = _points(values, season, recent.end + recent.step, grid, np.arange(horizon))
        spread = np.einsum("lb,nbq->nlq", blend(hours, BAND_HOURS, _FADE), bands)
        return answer(recent, point[..., None] + spread, levels)

    def weights(self, recent: Frame) -> Mapping[str, NDArray[np.float64]]:
        """See Predictor."""
        return alone("prophet", recent)

    def state(self) -> State:
        """See Predictor."""
        return State({"season": self.season, "bands": self.bands}, {"step": self.step, "keys": list(self.keys)})


class Prophet:
    """See the module. Bounds on the work, for series beside other models: `most_series` are fitted, those with the
    clearest day, and none at all for a horizon of `least_hours` or less. The others get NaN, as does any series with
    less than 3 days of history or a step above an hour."""

    def __init__(self, most_series: int | None = None, least_hours: float = 0.0) -> None:
        self._most_series = most_series
        self._least_hours = least_hours

    def fit(self, history: Frame, horizon: int) -> Predictor:
        """See Model."""
        grid = Grid(history.step)
        values = grid.align(history.values)
        start = history.end + history.step - grid.length * history.step
        chosen = np.arange(0)
        season = np.empty((0, WEEK_HOURS))
        if grid.daily and grid.step <= HOUR and horizon * grid.step > self._least_hours * HOUR:
            hourly, first = _hourly(values, start, grid)
            chosen = _clearest(hourly, len(values) if self._most_series is None else self._most_series)
            with _quiet():
                season = np.array([_season(hourly[row], first) for row in chosen]).reshape(-1, WEEK_HOURS)
        values = values[chosen]
        bands = residual_bands(values, grid, *_residuals(values, season, start, grid))
        keys = tuple(label_key(history.labels[row]) for row in chosen)
        return ProphetPredictor(history.step, keys, season, bands.astype(np.float64))

    def restore(self, state: State) -> Predictor:
        """See Model."""
        season, bands = state.arrays["season"], state.arrays["bands"]
        return ProphetPredictor(float(state.facts["step"]), tuple(state.facts["keys"]), season, bands)


def _hourly(values: NDArray[np.float64], start: float, grid: Grid) -> tuple[NDArray[np.float64], float]:
    """Means over clock hours, and the time of the first one's middle; a step of an hour stands for itself."""
    piece = grid.steps(1)
    if piece == 1:
        return values, start
    ahead = round(-start % HOUR / grid.step) % piece
    cut = values[:, ahead : ahead + (values.shape[1] - ahead) // piece * piece]
    first = start + (ahead + (piece - 1) / 2) * grid.step
    return mean(cut.reshape(len(values), -1, piece)).astype(np.float64), first


def _clearest(hourly: NDArray[np.float64], most: int) -> NDArray[np.intp]:
    """Rows with enough observed, at most `most`: those whose days are most alike."""
    days = hourly[:, hourly.shape[1] % 24 :].reshape(len(hourly), -1, 24)
    seen = ~np.isnan(hourly)
    enough = np.flatnonzero(seen.sum(1) >= _LEAST_DAYS * 24)
    day = np.ascontiguousarray(days.transpose(0, 2, 1))
    typical = median(day)[:, :, None]
    rest = mean(np.abs(day - typical).reshape(len(day), -1))
    whole = mean(np.abs(hourly - median(hourly)[:, None]))
    share = np.nan_to_num(rest / np.where(whole > 0, whole, np.nan), nan=np.inf)
    return np.sort(enough[np.argsort(share[enough], kind="stable")[:most]])


def _season(hourly: NDArray[np.float64], first: float) -> NDArray[np.float64]:
    """A week of one series as Prophet sees it; NaN if it finds no fit."""
    import pandas as pd
    import prophet

    times = pd.to_datetime(first + HOUR * np.arange(len(hourly)), unit="s")
    known = ~np.isnan(hourly)
    days = (len(known) - int(known.argmax())) / 24
    model = prophet.Prophet(
        growth="flat",
        yearly_seasonality=False,
        daily_seasonality=_DAILY_TERMS,
        weekly_seasonality=_WEEKLY_TERMS if days >= _LEAST_DAYS_FOR_WEEK else False,
        uncertainty_samples=0,
    )
    centre, spread = np.median(hourly[known]), np.ptp(hourly[known])
    if spread == 0:
        return np.full(WEEK_HOURS, centre)
    try:
        model.fit(pd.DataFrame({"ds": times[known], "y": (hourly[known] - centre) / spread}))
    except (RuntimeError, ValueError):
        return np.full(WEEK_HOURS, np.nan)
    week = pd.DataFrame({"ds": pd.to_datetime((np.arange(WEEK_HOURS) + 0.5) * HOUR, unit="s")})
    return centre + spread * np.asarray(model.predict(week)["yhat"], np.float64)


def _points(
    values: NDArray[np.float64], season: NDArray[np.float64], start: float, grid: Grid, leads: NDArray[np.intp]
) -> NDArray[np.float64]:
    """[N, lead]: the season, and what is left of the last hour's distance from it."""
    span = grid.steps(1)
    past = _at(season, start + grid.step * np.arange(-span, 0))
    level = first_known(median(values[:, -span:] - past), np.zeros(len(values)))
    decay = np.exp(-grid.hours(leads) / _DECAY_HOURS)
    return np.asarray(_at(season, start + grid.step * leads) + level[:, None] * decay, np.float64)


def _at(season: NDArray[np.float64], times: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """The season at Unix times, linear between the middles of the hours."""
    place = times / HOUR - 0.5
    low = np.floor(place)
    part = place - low
    left = low.astype(np.intp) % WEEK_HOURS
    found: NDArray[np.float64] = season[:, left] * (1 - part) + season[:, (left + 1) % WEEK_HOURS] * part
    return found


def _residuals(
    values: NDArray[np.float64], season: NDArray[np.float64], start: float, grid: Grid
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """[N, origin, lead] and the hours of the leads. The season has seen these days: bands are a little narrow."""
    leads = grid.sample(grid.day)
    backs = [grid.day + i * grid.steps(ORIGIN_HOURS) for i in range(ORIGINS)]
    found = []
    for back in backs:
        if back > values.shape[1] - grid.steps(1):
            break
        end = values.shape[1] - back
        said = _points(values[:, :end], season, start + end * grid.step, grid, leads)
        found.append(values[:, end + leads] - said)
    return np.stack(found, 1), grid.hours(leads)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """cmdstanpy tells stderr about every fit through a handler of its own, Prophet that it has no plotly."""
    loggers = [logging.getLogger(name) for name in ("cmdstanpy", "prophet", "prophet.plot")]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, was in zip(loggers, before, strict=True):
            logger.disabled = was
