"""The HTML report of a simulation: the figures, and load, capacities and short minutes drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from forecaster import charts, page
from forecaster import simulation_outcome as told
from forecaster.backtest import Floats
from forecaster.charts import Axis, Chart, Shape
from forecaster.prices import SPARE_SHARE, Prices, best
from forecaster.simulation import FLAP_SECONDS, Course, Outcome, Segments, segments

DAY_SECONDS = 86400.0
_LANES = ((0.955, 0.975), (0.98, 1.0))
"""Where short minutes are drawn: reactive above predictive, at the foot of a chart."""


@dataclass(frozen=True)
class Panel:
    """A stretch of time, and why it is shown."""

    title: str
    chart: Chart


def write(path: Path, title: str, outcome: Outcome, prices: Prices) -> None:
    """Write the report; raises StoreError when the file can't be written."""
    chosen = best(outcome, prices)
    shown = chosen if chosen.choice else min(outcome.predictive, key=lambda one: one.figures.short_minutes)
    text = page.render(
        "simulation.html",
        {"share": told.share},
        title=title,
        outcome=outcome,
        prices=prices,
        chosen=chosen,
        shown=shown,
        panels=_panels(outcome, shown),
        flap_seconds=FLAP_SECONDS,
        spare_share=SPARE_SHARE,
        told=told,
    )
    page.write(path, text)


def _panels(outcome: Outcome, shown: Course) -> list[Panel]:
    """All of it, the worst day of reactive scaling, and that of predictive scaling if it is another."""
    reactive, predictive = (_drawn(outcome, course) for course in (outcome.reactive, shown))
    panels = [Panel("All of it", _chart(outcome, reactive, predictive, outcome.start, outcome.end))]
    days: set[float] = set()
    for word, cut in (("reactive", reactive), ("predictive", predictive)):
        day = _worst_day(outcome, cut)
        if day is not None and day not in days and outcome.end - outcome.start > DAY_SECONDS:
            days.add(day)
            last = min(day + DAY_SECONDS, outcome.end)
            panels.append(Panel(f"The worst day of {word} scaling", _chart(outcome, reactive, predictive, day, last)))
    return panels


def _drawn(outcome: Outcome, course: Course) -> Segments:
    return segments(outcome.load, course.scale, outcome.start)


def _worst_day(outcome: Outcome, cut: Segments) -> float | None:
    """The begin of the day, counted from the simulation's, with the most short minutes; None without any."""
    lacking = np.nan_to_num(cut.lacking(outcome.setup.pod_capacity)) > 0
    if not lacking.any():
        return None
    day = ((cut.begins - outcome.start) // DAY_SECONDS).astype(np.intp)
    return outcome.start + float(np.bincount(day, cut.seconds * lacking).argmax()) * DAY_SECONDS


def _chart(outcome: Outcome, reactive: Segments, predictive: Segments, start: float, end: float) -> Chart:
    capacity = outcome.setup.pod_capacity
    cuts = [_between(cut, start, end) for cut in (reactive, predictive)]
    highest = [np.nan_to_num(cut.load) for cut in cuts] + [cut.ready * capacity for cut in cuts]
    x, y = charts.time_axis(start, end), charts.number_axis(np.concatenate(highest), zero=True)
    lines = [
        _stairs(kind, x, y, cut, np.asarray(cut.ready * capacity, np.float64), end)
        for kind, cut in zip(("floor", "mine"), cuts, strict=True)
    ]
    marks = [
        _short(kind, x, cut, capacity, lane)
        for kind, cut, lane in zip(("short soft", "short"), cuts, _LANES, strict=True)
    ]
    shapes = (*lines, _stairs("actual", x, y, cuts[0], cuts[0].load, end), *marks)
    return Chart("Load, and the capacity of ready pods by reactive and by predictive scaling", x, y, shapes)


def _between(cut: Segments, start: float, end: float) -> Segments:
    kept = (cut.begins < end) & (cut.begins + cut.seconds > start)
    begins = np.maximum(cut.begins[kept], start)
    ends = np.minimum((cut.begins + cut.seconds)[kept], end)
    return Segments(begins, ends - begins, cut.load[kept], cut.pods[kept], cut.ready[kept])


def _stairs(kind: str, x: Axis, y: Axis, cut: Segments, values: Floats, end: float) -> Shape:
    """Each value from the begin of its segment to that of the next."""
    edges = np.append(cut.begins, end)
    return charts.line(kind, x, y, np.repeat(edges, 2)[1:-1], np.repeat(values, 2))


def _short(kind: str, x: Axis, cut: Segments, capacity: float, lane: tuple[float, float]) -> Shape:
    short = np.nan_to_num(cut.lacking(capacity)) > 0
    return charts.bars(kind, x, cut.begins[short], (cut.begins + cut.seconds)[short], *lane)
