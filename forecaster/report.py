"""The HTML report of a backtest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from forecaster import charts, outcome, page
from forecaster.backtest import Window
from forecaster.charts import Chart
from forecaster.evaluation import Result, Summary, by_lead, mean, summary
from forecaster.outcome import Outcome
from forecaster.verdicts import Tone, Verdicts, against_naive, calibration, tone

MOST_ROWS = 200
"""Series in the table of all of them."""
_BEFORE_SHARE = 0.2
"""History drawn before the first origin, against what is drawn after it."""
_LEAD_BUCKETS = 48


@dataclass(frozen=True)
class Panel:
    """One series: what it was, and what was forecast from each origin."""

    title: str
    name: str
    mase: float
    facts: tuple[str, ...]
    charts: tuple[Chart, ...]


@dataclass(frozen=True)
class Row:
    """One horizon of one forecast, all series together."""

    horizon: str
    total: int
    figures: Summary
    tone: Tone  # against seasonal naive
    band_tone: Tone
    band_word: str


@dataclass(frozen=True)
class Part:
    """One tested forecast."""

    outcome: Outcome
    result: Result
    rows: tuple[Row, ...]
    panels: tuple[Panel, ...]
    error: Chart
    reliability: Chart


def write(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the report; raises StoreError when the file can't be written."""
    parts = [_part(one, one.result, one.verdicts) for one in outcomes if one.result and one.verdicts]
    text = page.render(
        "backtest.html",
        {"against_naive": against_naive},
        parts=parts,
        failed=[one for one in outcomes if not one.result],
        most_rows=MOST_ROWS,
        series_name=outcome.series_name,
        band_name=outcome.band_name,
        made_by=outcome.made_by,
        order=_worst_first,
    )
    page.write(path, text)


def _part(about: Outcome, result: Result, verdicts: Verdicts) -> Part:
    rows = []
    for figures in result.figures:
        one = summary(figures)
        grade = calibration(result.study.levels, one.band)
        rows.append(Row(str(figures.horizon), len(figures.mase), one, tone(one.mase), *grade))
    return Part(about, result, tuple(rows), _panels(result, verdicts), _error_chart(result), _reliability(result))


def _worst_first(result: Result) -> list[int]:
    mase = result.figures[-1].mase
    order = np.argsort(np.where(np.isnan(mase), -np.inf, -mase), kind="stable")
    return [int(i) for i in order if not np.isnan(mase[i])] + [int(i) for i in np.flatnonzero(np.isnan(mase))]


def _panels(result: Result, verdicts: Verdicts) -> tuple[Panel, ...]:
    """The worst, the median and the best series, each once."""
    order = [row for row in _worst_first(result) if not np.isnan(result.figures[-1].mase[row])]
    if not order:
        return ()
    titles = {order[0]: "Worst series", order[-1]: "Best series"}
    if verdicts.middle is not None:
        titles.setdefault(verdicts.middle, "Median series")
    if len(order) == 1:
        titles = {order[0]: "The series"}
    shown = sorted(titles, key=order.index)
    return tuple(
        Panel(
            titles[row],
            outcome.series_name(result, row),
            float(result.figures[-1].mase[row]),
            verdicts.facts[row],
            tuple(_history_chart(result, row, lane) for lane in _lanes(result.windows)),
        )
        for row in shown
    )


def _lanes(windows: Sequence[Window]) -> list[list[Window]]:
    """Windows that don't overlap share a chart."""
    lanes: list[list[Window]] = []
    for window in windows:
        free = (lane for lane in lanes if lane[-1].origin + window.forecast.horizon <= window.origin)
        lane = next(free, None)
        if lane is None:
            lanes.append([window])
        else:
            lane.append(window)
    return lanes


def _history_chart(result: Result, row: int, shown: Sequence[Window]) -> Chart:
    frame, every = result.study.frame, result.windows
    last = min(every[-1].origin + every[-1].forecast.horizon, frame.length)
    first = max(0, every[0].origin - int(_BEFORE_SHARE * (last - every[0].origin)))
    past = frame.between(first, last)
    times = past.start + past.step * np.arange(past.length, dtype=np.float64)
    said = [window.forecast.values[row] for window in every]
    x = charts.time_axis(float(times[0]), float(times[-1]))
    y = charts.number_axis(np.concatenate([past.values[row], *(values.ravel() for values in said)]))
    middle = result.study.levels.index(0.5)
    bands, lines = [], []
    for window in shown:
        values = window.forecast.values[row]
        ahead = window.forecast.start + past.step * np.arange(window.forecast.horizon, dtype=np.float64)
        bands.append(charts.area("band", x, y, ahead, values[:, 0], values[:, -1]))
        edge = np.array([window.forecast.start - past.step] * 2)
        lines.append(charts.line("origin", x, y, edge, np.array([y.low, y.high])))
        lines.append(charts.line("median", x, y, ahead, values[:, middle]))
    shapes = (*bands, charts.line("actual", x, y, times, past.values[row]), *lines)
    title = f"{outcome.series_name(result, row)}: observed, and forecast from {len(shown)} origins"
    return Chart(title, x, y, shapes)


def _error_chart(result: Result) -> Chart:
    """Mean absolute error by lead time, each series in units of its seasonal-naive error over the whole horizon."""
    scale = result.figures[-1].floor_mae
    mine, floor = by_lead(result.windows, scale), by_lead(result.floor, scale)
    step, steps = result.study.frame.step, len(mine)
    buckets = np.array_split(np.arange(steps), min(steps, _LEAD_BUCKETS))
    ahead = np.array([(bucket.mean() + 1) * step for bucket in buckets])
    lines = [np.array([float(mean(curve[bucket])) for bucket in buckets]) for curve in (floor, mine)]
    x, y = charts.lead_axis(step, steps), charts.number_axis(np.concatenate(lines), zero=True)
    shapes = [charts.line(kind, x, y, ahead, one) for kind, one in zip(("floor", "mine"), lines, strict=True)]
    return Chart("Error by lead time, the forecast against seasonal naive", x, y, tuple(shapes))


def _reliability(result: Result) -> Chart:
    """Share of observations at or under each level, by horizon, against the level itself."""
    levels = np.array(result.study.levels)
    axis = charts.number_axis(np.array([0.0, 1.0]), zero=True, percent=True)
    shapes = [charts.line("ideal", axis, axis, np.array([0.0, 1.0]), np.array([0.0, 1.0]))]
    for i, figures in enumerate(result.figures):
        shares = summary(figures).coverage
        shapes.append(charts.line(f"horizon h{i % 4}", axis, axis, levels, shares))
        shapes.append(charts.dots(f"dot h{i % 4}", axis, axis, levels, shares))
    return Chart("Coverage by level against what each level promises", axis, axis, tuple(shapes))
