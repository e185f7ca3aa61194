"""`cloudpulse forecast`: one forecast from any Prometheus or a CSV file; nothing is stored."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from cloudpulse import logs, options, progress
from cloudpulse.durations import Duration, format_duration
from cloudpulse.errors import ConfigError
from forecaster import arguments, csvfile, reading
from forecaster.forecast import Forecast, joined
from forecaster.frame import TOGETHER, Frame
from forecaster.localtime import Calendar
from forecaster.model import Predictor
from forecaster.models import MODELS, build, fit
from forecaster.picture import draw, name_of

_MOST_STEPS = 100_000
_SHOWN = ("5m", "15m", "30m", "1h", "2h", "3h", "6h", "12h", "1d", "2d", "3d", "7d")
"""Lead times in the table, as far as the horizon goes."""


@dataclass(frozen=True)
class _Seconds:
    """What the work took; wall time."""

    train: float
    predict: float


@click.command("forecast")
@click.argument("promql", required=False)
@click.option(
    "--csv",
    "csv_path",
    type=click.Path(path_type=Path),
    help="A wide CSV instead of PROMQL, or - for stdin: timestamp (UTC), series...",
)
@click.option("--horizon", callback=arguments.duration, default="24h", show_default=True, help="How far ahead.")
@click.option("--step", callback=arguments.duration, default="5m", show_default=True, help="Grid; of a CSV its own.")
@click.option(
    "--history", callback=arguments.duration, default="14d", show_default=True, help="How much PROMQL is read back."
)
@click.option(
    "--levels", callback=arguments.levels, default="0.1,0.5,0.9", show_default=True, help="Quantiles to forecast."
)
@click.option("--models", default="auto", show_default=True, help=f"auto, or some of {', '.join(MODELS)}.")
@click.option(
    "--timezone", callback=arguments.calendar, default="UTC", show_default=True, help="Whose days: Europe/Berlin."
)
@click.option("--json", "as_json", is_flag=True, help="JSON with every step instead of a table.")
@click.option("--plot", type=click.Path(path_type=Path), help="Write a picture, .png or .svg.")
@click.option("--url", help="Prometheus; default: the config's prometheus.url, else http://localhost:9090.")
@options.config_option
def command(
    promql: str | None,
    csv_path: Path | None,
    horizon: Duration,
    step: Duration,
    history: Duration,
    levels: tuple[float, ...],
    models: str,
    timezone: Calendar,
    as_json: bool,
    plot: Path | None,
    url: str | None,
    config_path: Path | None,
) -> None:
    """Forecast PROMQL, or the series of a CSV file, and print the answer."""
    logs.configure("warning")
    if (promql is None) == (csv_path is None):
        raise click.UsageError("expected either a PROMQL expression or --csv FILE")
    steps = math.ceil(horizon / step - 1e-9)
    if steps > _MOST_STEPS:
        raise click.UsageError(f"--horizon {horizon} has {steps} steps of {step}: at most {_MOST_STEPS} are computed")
    names = arguments.models(models)
    build(names, timezone)  # a name that doesn't exist is refused before anything is read
    with progress.shown(f"reading {csv_path or promql}"):
        if csv_path is not None:
            frame = csvfile.read(csv_path, step)
        else:
            frame = reading.queried(reading.source(url, config_path), promql or "", step, history)
    forecast, seconds = _forecast(functools.partial(fit, names, timezone), frame, steps, levels)
    _note_silent(forecast)
    if plot is not None:
        draw(plot, frame, forecast, promql or (csv_path or plot).stem)
    click.echo(_json(forecast, seconds) if as_json else logs.printable_text(_table(forecast)))


def _forecast(
    train: Callable[[Frame, int], Predictor], frame: Frame, steps: int, levels: tuple[float, ...]
) -> tuple[Forecast, _Seconds]:
    """Train and predict, part by part, so that the bar moves; models pool what they learn within a part."""
    seconds = _Seconds(0.0, 0.0)
    forecasts = []
    with progress.shown("training", len(frame.labels), "series") as done:
        for part in frame.parts(TOGETHER):
            began = time.perf_counter()
            predictor = train(part, steps)
            trained = time.perf_counter()
            forecasts.append(predictor.predict(part, steps, levels))
            seconds = _Seconds(seconds.train + trained - began, seconds.predict + time.perf_counter() - trained)
            done(len(part.labels))
    return joined(forecasts), seconds


def _note_silent(forecast: Forecast) -> None:
    """Say on stderr which series got no forecast; raise ConfigError when none did."""
    silent = [name_of(forecast, i) for i, values in enumerate(forecast.values) if math.isnan(values[0, 0])]
    if silent and len(silent) == len(forecast.labels):
        raise ConfigError("no series has enough observations for a forecast: at least 3 observations are needed")
    for name in silent:
        click.echo(f"no forecast for {logs.printable(name)}: it has fewer than 3 observations", err=True)


def _json(forecast: Forecast, seconds: _Seconds) -> str:
    """One object; `values` run over levels, then steps. A series without a forecast has nulls."""
    series = [
        {"name": name_of(forecast, i), "values": [[_number(v) for v in row] for row in values.T.tolist()]}
        for i, values in enumerate(forecast.values)
    ]
    answer = {
        "step_seconds": int(forecast.step) if forecast.step == int(forecast.step) else forecast.step,
        "start": _iso(forecast.start),
        "levels": list(forecast.levels),
        "series": series,
        "seconds": {"train": round(seconds.train, 4), "predict": round(seconds.predict, 4)},
    }
    return msgspec.json.encode(answer).decode()


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _iso(moment: float) -> str:
    text = datetime.fromtimestamp(moment, UTC).isoformat(
        timespec="seconds" if moment == int(moment) else "milliseconds"
    )
    return text.replace("+00:00", "Z")


def _table(forecast: Forecast) -> str:
    leads = {int(Duration.parse(text) / forecast.step + 1e-9) - 1 for text in _SHOWN}
    leads = {lead for lead in leads if 0 <= lead < forecast.horizon} | {0, forecast.horizon - 1}
    parts = []
    for i, values in enumerate(forecast.values):
        rows = [["ahead", "time (UTC)", *(f"level {level:g}" for level in forecast.levels)]]
        for lead in sorted(leads):
            moment = _iso(forecast.start + lead * forecast.step)
            ahead = format_duration((lead + 1) * forecast.step)
            rows.append([ahead, moment, *("-" if math.isnan(v) else f"{v:.5g}" for v in values[lead])])
        widths = [max(len(row[c]) for row in rows) for c in range(len(rows[0]))]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        parts.append("\n".join([name_of(forecast, i), *lines]))
    return "\n\n".join(parts)
