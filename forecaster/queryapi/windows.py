"""Functions of a range: all samples of a stretch of time in, one value a series out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.queryapi.elementwise import quantile
from forecaster.queryapi.values import Bools, Floats, Times


@dataclass(frozen=True)
class Window:
    """What lies between `start` and `end`, both included: [series, sample]. `at` is when it is evaluated; Unix ms."""

    values: Floats
    present: Bools
    times: Times
    start: int
    end: int
    at: int

    @cached_property
    def counts(self) -> NDArray[np.intp]:
        """Samples of each series."""
        counts: NDArray[np.intp] = self.present.sum(1)
        return counts

    @cached_property
    def first(self) -> NDArray[np.intp]:
        """Position of each series' first sample; 0 without one."""
        first: NDArray[np.intp] = np.argmax(self.present, axis=1)
        return first

    @cached_property
    def last(self) -> NDArray[np.intp]:
        """Position of each series' last sample."""
        last: NDArray[np.intp] = self.present.shape[1] - 1 - np.argmax(self.present[:, ::-1], axis=1)
        return last

    def pick(self, positions: NDArray[np.intp]) -> Floats:
        """Each series' value at its position."""
        return self.values[np.arange(len(self.values)), positions]

    def filled(self, nothing: float) -> Floats:
        """Values, with `nothing` where there is none."""
        return np.where(self.present, self.values, nothing)


@dataclass(frozen=True)
class Reduction:
    """A function of a range; a series with fewer than `least` samples has no value."""

    of: Callable[..., Floats]
    least: int = 1
    keeps_name: bool = False


def _mean(window: Window) -> Floats:
    """From the first sample on, so that of equal numbers it is exactly that number."""
    first = window.pick(window.first)
    first = np.where(np.isfinite(first), first, 0.0)
    away = np.where(window.present, window.values - first[:, None], 0.0)
    mean: Floats = first + away.sum(1) / window.counts
    return mean


def _variance(window: Window) -> Floats:
    away = np.where(window.present, window.values - _mean(window)[:, None], 0.0)
    variance: Floats = (away**2).sum(1) / window.counts
    return variance


def _risen(window: Window, change: Floats) -> Floats:
    """`change` and what a counter had each time it fell: one after the other, or large ones swallow the rest."""
    position = np.maximum.accumulate(np.where(window.present, np.arange(window.present.shape[1]), 0), axis=1)
    before = np.take_along_axis(window.values, position[:, :-1], 1)
    now = window.values[:, 1:]
    after_first = np.arange(1, window.present.shape[1]) > window.first[:, None]
    fell = window.present[:, 1:] & after_first & (now < before)
    terms = np.concatenate([change[:, None], np.where(fell, before, 0.0)], axis=1)
    risen: Floats = np.cumsum(terms, axis=1)[:, -1]
    return risen


def _extrapolated(window: Window, counter: bool) -> Floats:
    """The change over the whole window, as Prometheus' extrapolatedRate sees it: samples seldom lie at its ends."""
    first = window.pick(window.first)
    change = window.pick(window.last) - first
    if counter:
        change = _risen(window, change)
    begins, ends = window.times[window.first], window.times[window.last]
    to_start, to_end = (begins - window.start) / 1000.0, (window.end - ends) / 1000.0
    sampled = (ends - begins) / 1000.0
    apart = sampled / (window.counts - 1)
    if counter:
        to_zero = sampled * (first / change)
        to_start = np.where((change > 0) & (first >= 0) & (to_zero < to_start), to_zero, to_start)
    span = sampled + np.where(to_start < apart * 1.1, to_start, apart / 2)
    span = span + np.where(to_end < apart * 1.1, to_end, apart / 2)
    extrapolated: Floats = change * (span / sampled)
    return extrapolated


def _rate(window: Window) -> Floats:
    return _extrapolated(window, True) / ((window.end - window.start) / 1000.0)


def _line(window: Window) -> tuple[Floats, Floats, Floats]:
    """Least squares: slope a second, mean value, and mean seconds after the end; flat lines are exactly flat."""
    seconds = np.where(window.present, (window.times - window.end) / 1000.0, 0.0)
    middle = seconds.sum(1) / window.counts
    mean = _mean(window)
    x = np.where(window.present, seconds - middle[:, None], 0.0)
    y = np.where(window.present, window.values - mean[:, None], 0.0)
    slope = (x * y).sum(1) / (x * x).sum(1)
    first = window.pick(window.first)
    flat = np.where(window.present, window.values == first[:, None], True).all(1)
    slope = np.where(flat, np.where(np.isinf(first), np.nan, 0.0), slope)
    return slope, np.where(flat & ~np.isinf(first), first, mean), middle


def _predicted(window: Window, ahead: Any) -> Floats:
    slope, mean, middle = _line(window)
    predicted: Floats = mean + slope * ((window.at - window.end) / 1000.0 - middle + ahead)
    return predicted


WINDOWS: dict[str, Reduction] = {
    "avg_over_time": Reduction(_mean),
    "count_over_time": Reduction(lambda window: window.counts.astype(np.float64)),
    "delta": Reduction(lambda window: _extrapolated(window, False), 2),
    "deriv": Reduction(lambda window: _line(window)[0], 2),
    "increase": Reduction(lambda window: _extrapolated(window, True), 2),
    "last_over_time": Reduction(lambda window: window.pick(window.last), keeps_name=True),
    "max_over_time": Reduction(lambda window: np.fmax.reduce(window.filled(np.nan), axis=1)),
    "min_over_time": Reduction(lambda window: np.fmin.reduce(window.filled(np.nan), axis=1)),
    "predict_linear": Reduction(_predicted, 2),
    "present_over_time": Reduction(lambda window: np.ones(len(window.values))),
    "quantile_over_time": Reduction(lambda window, level: quantile(window.values, window.present, level)),
    "rate": Reduction(_rate, 2),
    "stddev_over_time": Reduction(lambda window: np.sqrt(_variance(window))),
    "stdvar_over_time": Reduction(_variance),
    "sum_over_time": Reduction(lambda window: window.filled(0.0).sum(1)),
}
"""Of a range, and numbers that are the same for all series."""
