"""A backtest's Result as text for people and as plain data for programs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from cloudpulse.durations import Duration
from forecaster.evaluation import Figures, Result, summary
from forecaster.picture import name_of
from forecaster.verdicts import Verdict, Verdicts, against_naive, calibration

LEGEND = """\
MAE: mean absolute error of the median, over all steps up to the horizon. MASE, WQL: that error, and the quantile loss
of all levels, over those of seasonal naive (the same time yesterday) from the same origins; geometric mean over series,
below 1 is better. Bias: mean error over seasonal naive's; above 0 forecasts were too high. Worse: series with a MASE
above 1."""


@dataclass(frozen=True)
class Outcome:
    """What became of one forecast: a Result with its Verdicts, or an `error` that says why there is none."""

    name: str
    query: str
    models: str
    result: Result | None = None
    verdicts: Verdicts | None = None
    untested: tuple[Duration, ...] = ()  # horizons that the history is too short for
    error: str = ""


def text(outcome: Outcome) -> str:
    """A heading, a table by horizon, and where it wins and loses."""
    if outcome.result is None or outcome.verdicts is None:
        return f"{outcome.name}: not tested: {outcome.error}"
    result = outcome.result
    low, high = result.study.levels[0], result.study.levels[-1]
    band = f"{band_name(result)} band (of {high - low:.0%})" if high > low else "band"
    rows = [["horizon", "series", "MAE", "MASE", "WQL", band, "bias", "worse"]]
    for figures in result.figures:
        one = summary(figures)
        shares = [percent(one.band) if high > low else "-", _signed(one.bias), percent(one.worse)]
        errors = [number(one.mae), _ratio(one.mase), _ratio(one.wql)]
        rows.append([str(figures.horizon), f"{one.series} of {len(figures.mase)}", *errors, *shares])
    ends = _ends(result, outcome.verdicts)
    return "\n".join([_heading(outcome, result), *aligned(rows), _verdict(result), *ends, *_notes(outcome)])


def data(outcome: Outcome) -> dict[str, Any]:
    """The same and more, series by series; what is unknown is None."""
    about: dict[str, Any] = {"name": outcome.name, "query": outcome.query, "models": outcome.models}
    if outcome.result is None or outcome.verdicts is None:
        return about | {"error": outcome.error}
    result, verdicts = outcome.result, outcome.verdicts
    return about | {
        "step_seconds": float(result.study.frame.step),
        "levels": list(result.study.levels),
        "origins": [moment(one.forecast.start) for one in result.windows],
        "untested_horizons": [str(horizon) for horizon in outcome.untested],
        "model_weights": {name: known(share) for name, share in result.weights.items()},
        "horizons": [_summary_data(figures, result.study.levels) for figures in result.figures],
        "series": [
            {
                "name": series_name(result, i),
                "labels": dict(labels),
                "facts": list(verdicts.facts[i]),
                "horizons": [_series_data(figures, result.study.levels, i) for figures in result.figures],
            }
            for i, labels in enumerate(result.study.frame.labels)
        ],
    }


def series_name(result: Result, row: int) -> str:
    """A series as PromQL writes it."""
    return name_of(result.windows[0].forecast, row)


def band_name(result: Result) -> str:
    """The outermost levels, such as 10-90%."""
    return f"{100 * result.study.levels[0]:g}-{100 * result.study.levels[-1]:g}%"


def made_by(result: Result) -> str:
    """The models by their share, those under 1 % left out."""
    shares = sorted(result.weights.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {share:.0%}" for name, share in shares if share >= 0.01)


def moment(seconds: float) -> str:
    """Unix seconds as UTC text."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def number(value: float) -> str:
    """Four digits, large ones in full; a dash where nothing is known."""
    if math.isnan(value):
        return "-"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e12 else f"{value:.4g}"


def percent(share: float) -> str:
    """A share as a percentage; a dash where nothing is known."""
    return "-" if math.isnan(share) else f"{share:.1%}"


def known(value: float) -> float | None:
    """For JSON, which has neither NaN nor infinity."""
    return float(value) if math.isfinite(value) else None


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of a table, each column as wide as it must be."""
    widths = [max(len(row[c]) for row in rows) for c in range(len(rows[0]))]
    for row in rows:
        yield "  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))


def _heading(outcome: Outcome, result: Result) -> str:
    starts = [one.forecast.start for one in result.windows]
    origins = f"{len(starts)} origins" if len(starts) > 1 else "1 origin"
    span = f"{moment(starts[0])} to {moment(starts[-1])}" if len(starts) > 1 else moment(starts[0])
    return f"{outcome.name}: {origins}, {span}; forecasts by {made_by(result)}"


def _verdict(result: Result) -> str:
    """What the longest horizon comes to, in a sentence."""
    longest, levels = result.figures[-1], result.study.levels
    one = summary(longest)
    if math.isnan(one.mase):
        constant = np.nanmax(result.study.frame.values, 1) == np.nanmin(result.study.frame.values, 1)
        why = ": no series ever changes, which is foreseen perfectly either way" if constant.all() else ""
        return f"  up to {longest.horizon}: nothing could be compared{why}"
    _, word = calibration(levels, one.band)
    band = f"; the {band_name(result)} band is {word}" if word else ""
    return f"  up to {longest.horizon}: error {against_naive(one.mase)} against seasonal naive{band}"


def _ends(result: Result, verdicts: Verdicts) -> Iterator[str]:
    for word, ends in (("wins", verdicts.wins), ("loses", verdicts.losses)):
        for one in ends:
            yield f"  {word:<5}  MASE {one.mase:.2f}  {_told(result, one)}"


def _told(result: Result, one: Verdict) -> str:
    return f"{series_name(result, one.row)}: {'; '.join(one.facts)}"


def _notes(outcome: Outcome) -> Iterator[str]:
    if outcome.untested:
        yield f"  not tested, too little history: {', '.join(map(str, outcome.untested))}"


def _ratio(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _signed(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.2f}"


def _summary_data(figures: Figures, levels: Sequence[float]) -> dict[str, Any]:
    one = summary(figures)
    return {
        "horizon": str(figures.horizon),
        "series": one.series,
        "mae": known(one.mae),
        "mase": known(one.mase),
        "relative_wql": known(one.wql),
        **_calibration(levels, one.band, one.coverage),
        "bias_ratio": known(one.bias),
        "worse_share": known(one.worse),
    }


def _series_data(figures: Figures, levels: Sequence[float], i: int) -> dict[str, Any]:
    return {
        "horizon": str(figures.horizon),
        "points": int(figures.points[i]),
        "mae": known(figures.mae[i]),
        "seasonal_naive_mae": known(figures.floor_mae[i]),
        "mase": known(figures.mase[i]),
        "relative_wql": known(figures.wql[i]),
        **_calibration(levels, figures.band[i], figures.coverage[i]),
        "bias_ratio": known(figures.bias[i]),
    }


def _calibration(levels: Sequence[float], band: float, coverage: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if len(levels) > 1:
        nominal = round(levels[-1] - levels[0], 6)
        found["band"] = {"low": levels[0], "high": levels[-1], "nominal": nominal, "coverage": known(band)}
    found["coverage"] = [{"level": level, "ratio": known(share)} for level, share in zip(levels, coverage, strict=True)]
    return found
