"""The forecast that belongs to an alert, found in Prometheus: what was expected, what is ahead, and how good it is.

A forecast is named only by its own labels; which query it forecasts, Prometheus doesn't know. So the data decide: it
belongs to an expression whose labels it doesn't contradict and whose values its median followed lately.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from alert_bridge.insights import path as paths
from alert_bridge.insights import question
from alert_bridge.insights.path import Path, Values
from alert_bridge.insights.reading import Grid
from cloudpulse import names
from cloudpulse.durations import Duration
from cloudpulse.promql import Labels, MetricSource, Sample

MOST_CANDIDATES = 8
AGREEMENT = 0.15
"""A median belongs to values when half of its errors are smaller than this share of half of the values."""
LEAST_SHARED = 0.25
"""Of the moments with a value so many must have a median, too."""
STALE_SECONDS = 600.0
"""A forecast made longer ago, and longer than its shortest horizon, is as good as none."""

_OWN = frozenset({"__name__", "horizon", "level", "threshold", "model"})
_FACTS = (
    names.FORECAST_VALUE,
    names.FORECAST_TIMESTAMP,
    names.FORECAST_MASE,
    names.FORECAST_COVERAGE,
    names.FORECAST_TIME_TO_THRESHOLD,
)
_MEDIAN = {"horizon": "0s", "level": "0.5"}


@dataclass(frozen=True)
class Trust:
    """How it has done lately, `horizon` ahead. NaN where that isn't known yet.

    `mase` is its error over that of repeating the season; `inside` the share of values in the band between the
    outermost levels, which should be `band`.
    """

    horizon: str = ""
    mase: float = math.nan
    inside: float = math.nan
    band: float = math.nan

    @property
    def given(self) -> bool:
        """Whether its numbers may be shown: not once it is known to be worse than repeating the season."""
        return not self.mase > 1


@dataclass(frozen=True)
class Forecast:
    """What a forecast says of one series. `labels` are its series' without level and horizon.

    `expected` is what it said of each past moment, the last of them now; `crossings` seconds from now by level, for
    the threshold in question, +Inf for not within its longest horizon.
    """

    name: str
    labels: Labels
    expected: Path
    ahead: Path
    trust: Trust
    crossings: Mapping[float, float] = field(default_factory=dict)


def candidates(source: MetricSource, labels: Labels, value: float, back: float, now: float) -> list[Labels]:
    """Forecasts that don't contradict `labels`, nearest to `value` as it was `back` seconds ago first."""
    named = {"forecast": labels["forecast"]} if "forecast" in labels else {}
    fits = question.fitting(names.FORECAST_VALUE.name, labels, **_MEDIAN, **named)
    if not math.isfinite(value):
        return []
    then = f"{fits} offset {round(back)}s" if back >= 1 else fits
    nearest = f"bottomk({MOST_CANDIDATES}, abs({then} - {_literal(value)}))"
    found = sorted(source.instant(nearest, now), key=lambda one: one.value)
    return [own_labels(one.labels) for one in found]


def agreeing(
    source: MetricSource, found: Sequence[Labels], values: Sequence[NDArray[np.float64]], grid: Grid
) -> tuple[Labels, int] | None:
    """The one whose median follows one of `values` over the grid best, and which; None if none does well enough."""
    if not found:
        return None
    query = " or ".join(question.selector(names.FORECAST_VALUE.name, {**one, **_MEDIAN}) for one in found)
    medians = {_key(own_labels(one.labels)): one for one in source.range(query, grid.start, grid.end, grid.step)}
    best: tuple[float, Labels, int] | None = None
    for labels in found:
        if (one := medians.get(_key(labels))) is None:
            continue
        expected = _on(grid, one.times, one.values)
        for position, actual in enumerate(values):
            error = disagreement(actual, expected)
            if error <= AGREEMENT and (best is None or error < best[0]):
                best = (error, labels, position)
    return None if best is None else best[1:]


def disagreement(actual: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """Median error over median size, +Inf where too little is known to say."""
    both = np.isfinite(actual) & np.isfinite(expected)
    if both.sum() < max(3.0, LEAST_SHARED * np.isfinite(actual).sum()):
        return math.inf
    error, size = np.median(np.abs(actual - expected)[both]), np.median(np.abs(actual[both]))
    return float(error / size) if size > 0 else (0.0 if error == 0 else math.inf)


def read(
    source: MetricSource, labels: Labels, actual: float, threshold: float | None, grid: Grid, ahead_seconds: float
) -> Forecast | None:
    """All about one forecast's series as of the grid's end; None when it isn't there, or stale. Raises SourceError."""
    now = grid.end
    facts = [one for one in source.instant(_facts(labels), now) if own_labels(one.labels) == labels]
    newest = _by_horizon(facts)
    horizons = {float(Duration.parse(text)): text for text in newest}
    leads = sorted(lead for lead in horizons if lead > 0)
    if not leads or not _current(facts, now, leads[0]):
        return None
    levels = tuple(sorted(set.intersection(*(set(by_level) for by_level in newest.values()))))
    if not levels:
        return None
    until = now + math.floor(ahead_seconds / grid.step) * grid.step
    whole = Grid(grid.start, until, grid.step)
    far = [b for a, b in itertools.pairwise([0.0, *leads]) if b - a > paths.BRIDGED_SECONDS and a < ahead_seconds]
    told = _told(source, labels, [horizons[lead] for lead in far], whole, levels, now)
    times = whole.times
    past = times <= now + 1e-6
    expected = told["0s"][past]
    knots = {lead: _levels(newest[horizons[lead]], levels) for lead in leads}
    begin = np.full(len(levels), actual) if math.isfinite(actual) else expected[-1]
    shapes = {lead: told[horizons[lead]][times >= now - 1e-6] for lead in far}
    way = paths.ahead(now, times[times >= now - 1e-6], levels, begin, knots, shapes)
    horizon = min(leads, key=lambda lead: abs(lead - min(ahead_seconds, 3600.0)))
    return Forecast(
        labels["forecast"],
        labels,
        Path(times[past], levels, expected),
        way,
        _trust(facts, horizons[horizon], levels),
        _crossings(facts, threshold),
    )


def _facts(labels: Labels) -> str:
    matcher = "|".join(one.name for one in _FACTS)
    return question.selector("", labels).replace("{", f"{{__name__=~{question.quoted(matcher)},", 1)


def _by_horizon(facts: Sequence[Sample]) -> dict[str, dict[float, float]]:
    """Of the values: horizon -> level -> value."""
    found: dict[str, dict[float, float]] = {}
    for one in facts:
        if one.labels.get("__name__") == names.FORECAST_VALUE.name and math.isfinite(one.value):
            found.setdefault(one.labels["horizon"], {})[float(one.labels["level"])] = one.value
    return found


def _current(facts: Sequence[Sample], now: float, shortest: float) -> bool:
    made = [one.value for one in facts if one.labels.get("__name__") == names.FORECAST_TIMESTAMP.name]
    return bool(made) and now - max(made) <= max(STALE_SECONDS, shortest)


def _told(
    source: MetricSource, labels: Labels, horizons: Sequence[str], grid: Grid, levels: tuple[float, ...], now: float
) -> dict[str, Values]:
    """By horizon what it had said of each moment so long before, [time, level]; NaN where nothing was said.

    One query, since an offset moves a prediction to the time that it is for, which may be in the future.
    """
    parts = [question.selector(names.FORECAST_VALUE.name, {**labels, "horizon": "0s"})]
    for horizon in horizons:
        shifted = question.selector(names.FORECAST_VALUE.name, {**labels, "horizon": horizon})
        parts.append(f"{shifted} offset {horizon}")
    answer = {one: np.full((len(grid.times), len(levels)), np.nan) for one in ("0s", *horizons)}
    for series in source.range(" or ".join(parts), grid.start, grid.end, grid.step):
        horizon, level = series.labels["horizon"], float(series.labels["level"])
        if horizon in answer and level in levels and own_labels(series.labels) == labels:
            values = _on(grid, series.times, series.values)
            # Prometheus looks back 5 minutes, and so would repeat the newest for moments that it says nothing of.
            values[grid.times > now + Duration.parse(horizon) + 1e-6] = np.nan
            answer[horizon][:, levels.index(level)] = values
    return answer


def _trust(facts: Sequence[Sample], horizon: str, levels: tuple[float, ...]) -> Trust:
    mase, covered = math.nan, dict[float, float]()
    for one in facts:
        if one.labels.get("horizon") != horizon:
            continue
        if one.labels.get("__name__") == names.FORECAST_MASE.name:
            mase = one.value
        elif one.labels.get("__name__") == names.FORECAST_COVERAGE.name:
            covered[float(one.labels["level"])] = one.value
    low, high = levels[0], levels[-1]
    inside = covered.get(high, math.nan) - covered.get(low, math.nan) if low < high else math.nan
    return Trust(horizon, mase, inside, high - low)


def _crossings(facts: Sequence[Sample], threshold: float | None) -> dict[float, float]:
    """Seconds by level; a label is written with six digits."""
    if threshold is None:
        return {}
    return {
        float(one.labels["level"]): one.value
        for one in facts
        if one.labels.get("__name__") == names.FORECAST_TIME_TO_THRESHOLD.name
        and one.labels.get("threshold") == f"{threshold:g}"
        and not math.isnan(one.value)
    }


def _levels(by_level: Mapping[float, float], levels: tuple[float, ...]) -> Values:
    return np.array([by_level[level] for level in levels])


def _on(grid: Grid, times: Values, values: Values) -> Values:
    """On the grid, NaN where there is nothing."""
    placed = np.full(grid.times.shape, np.nan)
    placed[np.rint((times - grid.start) / grid.step).astype(int)] = values
    return np.where(np.isfinite(placed), placed, np.nan)


def own_labels(labels: Labels) -> dict[str, str]:
    """A series' labels without those that tell its parts apart."""
    return {name: value for name, value in labels.items() if name not in _OWN}


def _key(labels: Labels) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


def _literal(value: float) -> str:
    return f"({value!r})"
