"""One series' whole story, as JSON: its past, its future, each model's own, and what was forecast of it earlier."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from cloudpulse import logs, names
from cloudpulse.clock import Clock
from cloudpulse.promql import Labels
from forecaster.earlier import POINTS, Earlier, Remembered, selector
from forecaster.forecast import Forecast
from forecaster.overview import Overview
from forecaster.store import Issue
from forecaster.table import Table, demotions

KEPT = 64
"""Series whose models' own forecasts are kept until their next Issue: those that someone looks at."""

log = logs.get(__name__)
_encode = msgspec.json.Encoder().encode  # NaN and infinity become null


class Stories:
    """Tells the story of single series. For several threads."""

    def __init__(self, overview: Overview, earlier: Earlier | None, clock: Clock) -> None:
        self._overview = overview
        self._earlier = earlier
        self._clock = clock
        self._lock = threading.Lock()  # of the models: one series at a time, and for two clients once
        self._medians: OrderedDict[str, tuple[weakref.ref[Forecast], dict[str, list[float]]]] = OrderedDict()

    def of(self, issue: Issue, name: str, past_seconds: float) -> bytes | None:
        """The series that is called `name`, with so much of its past; None where `issue` has none of that name."""
        table = self._overview.table(issue)
        row = table.ids.row_of.get(name)
        return None if row is None else _encode(self._story(issue, table, row, past_seconds))

    def _story(self, issue: Issue, table: Table, row: int, past_seconds: float) -> dict[str, Any]:
        labels, target = _exact(issue, row), issue.target
        last = issue.forecast.start - issue.forecast.step
        stride, length = _grid(issue, past_seconds)
        step = stride * issue.forecast.step
        start = last - (length - 1) * step
        remembered = Remembered(np.empty(0))
        if self._earlier is not None:
            # The score of a column is known, and scraped, by the end of the step that it begins.
            remembered = self._earlier.of(target, labels, start + issue.forecast.step, length, step)
        scores = np.full(length, np.nan) if remembered.scores is None else remembered.scores
        now = self._clock()
        return {
            "now": now,
            "row": msgspec.Raw(table.row(row, now)),
            "past": {
                "start": start,
                "step": step,
                "actual": _past(issue, row, stride, length),
                "score": _short(scores),
            },
            "ahead": {
                "start": issue.forecast.start,
                "step": issue.forecast.step,
                "levels": {
                    f"{level:g}": _short(issue.forecast.values[row, :, k])
                    for k, level in enumerate(issue.forecast.levels)
                },
                "models": self._models(issue, row, table.ids.of_row[row]),
            },
            "earlier": _told(remembered),
            "weights": {model: float(weights[row]) for model, weights in issue.weights.items()},
            "demoted": demotions(issue.demoted, row),
            "thresholds": [{"value": one.value, "direction": one.direction} for one in target.crossings],
            "promql": {
                "source": target.query,
                "value": selector(names.FORECAST_VALUE.name, target, labels),
                "curve": selector(names.FORECAST_CURVE.name, target, labels),
                "score": selector(names.FORECAST_ANOMALY_SCORE.name, target, labels),
            },
        }

    def _models(self, issue: Issue, row: int, name: str) -> dict[str, list[float]]:
        """The medians of each model alone, kept for the next who looks; none where the models fail."""
        if issue.background is None:
            return {}
        with self._lock:
            kept = self._medians.get(name)
            if kept is None or kept[0]() is not issue.forecast:
                last = issue.forecast.start - issue.forecast.step
                try:
                    said = issue.background.medians(row, issue.forecast.labels[row], last, issue.forecast.horizon)
                except Exception as error:  # noqa: BLE001  the pipeline tells of models that fail, and goes on as well
                    log.debug("models not asked one by one", forecast=issue.target.name, error=repr(error))
                    said = {}
                # One that the ensemble didn't ask is silent throughout.
                kept = (
                    weakref.ref(issue.forecast),
                    {name: _short(path) for name, path in said.items() if np.isfinite(path).any()},
                )
            self._medians[name] = kept
            self._medians.move_to_end(name)
            while len(self._medians) > KEPT:
                self._medians.popitem(last=False)
            return kept[1]


def _exact(issue: Issue, row: int) -> Labels:
    """A series' labels, and empty those that only others have: a PromQL selector without them would take these, too."""
    every = sorted({name for labels in issue.forecast.labels for name in labels})
    return {**dict.fromkeys(every, ""), **issue.forecast.labels[row]}


def _grid(issue: Issue, seconds: float) -> tuple[int, int]:
    """Steps from one point to the next, and how many points, so that they are not more than POINTS."""
    columns = max(1, int(min(seconds, float(issue.target.history)) // issue.forecast.step))
    stride = -(-columns // POINTS)
    return stride, columns // stride


def _past(issue: Issue, row: int, stride: int, length: int) -> list[float]:
    if issue.background is None:
        return [float("nan")] * length
    last = issue.forecast.start - issue.forecast.step
    known = issue.background.recent(row, last, (length - 1) * stride + 1).values[0, ::-stride][::-1]
    padded = np.full(length, np.nan)
    padded[length - len(known) :] = known
    padded[-1] = issue.observed[row]  # what the forecast was made of, whatever was read since
    return _short(padded)


def _told(remembered: Remembered) -> dict[str, Any]:
    """By horizon; only the times at which anything is known."""
    told = {}
    for horizon, levels in remembered.values.items():
        known = ~np.isnan(np.array(list(levels.values()))).all(0)
        told[horizon] = {
            "times": remembered.times[known].tolist(),
            "levels": {level: _short(values[known]) for level, values in levels.items()},
        }
    return told


def _short(values: NDArray[np.floating[Any]]) -> list[float]:
    """Six digits are more than a chart can show, but for Unix times and the like, which differ in later ones."""
    exact = np.asarray(values, np.float64)
    known = exact[np.isfinite(exact)]
    if not len(known):
        return [float("nan")] * len(exact)
    width = float(known.max() - known.min()) or float(np.abs(known).max()) or 1.0
    digits = 5 - int(np.floor(np.log10(width)))
    found: list[float] = np.round(exact, min(max(digits, -300), 300)).tolist()
    return found
