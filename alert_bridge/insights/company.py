"""The company an alert keeps: other forecasts that are anomalous in the same minutes, the most related first.

Read from `cloudpulse_forecast_anomaly_score`; where a forecaster doesn't show it, nobody is in company.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alert_bridge.insight import Companion
from alert_bridge.insights import question
from alert_bridge.insights.forecasts import Forecast
from alert_bridge.insights.reading import Grid
from cloudpulse import names
from cloudpulse.promql import Labels, MetricSource

SCORE = names.FORECAST_ANOMALY_SCORE.name
MOST = 5
MOST_EXAMINED = 30
RECENT_SECONDS = 300.0
LEAST_MOMENTS = 10
CAP = 3.0
"""Scores are compared up to this: how far out something is says little about what it belongs to."""


@dataclass(frozen=True)
class _Other:
    labels: Mapping[str, str]
    scores: NDArray[np.float64]

    @property
    def latest(self) -> float:
        return float(self.scores[np.isfinite(self.scores)][-1])


def find(
    source: MetricSource, labels: Labels, mine: Forecast | None, values: NDArray[np.float64], grid: Grid
) -> tuple[Companion, ...]:
    """Those that scored above 1 in the last minutes; raises SourceError.

    `labels` are the alert's, `values` its own series over the grid (empty: not known), `mine` its forecast, which is
    no company. How related another is, 0 to 1, is the mean of how its scores went with the alert's over the grid
    (Pearson's correlation, none where it is negative) and of the share of its labels that the alert has.
    """
    recent = question.selector(SCORE, {}) + f"[{round(RECENT_SECONDS)}s] @ {grid.end:.3f}"
    query = f"{SCORE} and topk({MOST_EXAMINED}, max_over_time({recent}) > 1)"
    if mine is not None:
        query += f" or {question.selector(SCORE, mine.labels)}"
    others, own = [], None
    for series in source.range(query, grid.start, grid.end, grid.step):
        scores = np.full(grid.times.shape, np.nan)
        scores[np.rint((series.times - grid.start) / grid.step).astype(int)] = series.values
        one = _Other({name: value for name, value in series.labels.items() if name != "__name__"}, scores)
        if mine is not None and one.labels == mine.labels:
            own = scores
        elif np.isfinite(scores[grid.times > grid.end - RECENT_SECONDS]).any():
            others.append(one)
    pattern = own if own is not None else _deviation(values)
    found = [
        Companion(
            one.labels.get("forecast", ""),
            {name: value for name, value in one.labels.items() if name != "forecast"},
            one.latest,
            0.5 * (_together(pattern, one.scores) + _shared(one.labels, labels)),
        )
        for one in others
    ]
    return tuple(sorted(found, key=lambda one: (-one.relation, -one.score, one.forecast))[:MOST])


def _deviation(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far from its usual a series was, in units of how far it usually is."""
    known = values[np.isfinite(values)]
    if known.size < LEAST_MOMENTS:
        return np.empty(0)
    away = np.abs(values - np.median(known))
    usual = np.median(np.abs(known - np.median(known)))
    return np.asarray(away / (3 * usual), np.float64) if usual > 0 else np.empty(0)


def _together(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Correlation of two scores, 0 where it is negative or can't be said."""
    if first.shape != second.shape:
        return 0.0
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < LEAST_MOMENTS:
        return 0.0
    a, b = np.minimum(first[both], CAP), np.minimum(second[both], CAP)
    a, b = a - a.mean(), b - b.mean()
    size = math.sqrt(float((a**2).sum() * (b**2).sum()))
    return max(0.0, float((a * b).sum()) / size) if size > 0 else 0.0


def _shared(theirs: Labels, mine: Labels) -> float:
    own = {name: value for name, value in theirs.items() if name != "forecast"}
    return sum(mine.get(name) == value for name, value in own.items()) / len(own) if own else 0.0
