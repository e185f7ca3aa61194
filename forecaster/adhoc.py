"""`cloudpulse forecast`: one forecast from any Prometheus or a CSV file; nothing is stored."""

from __future__ import annotations

import contextlib
import itertools
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from cloudpulse import config, logs, options
from cloudpulse.config import PrometheusSettings
from cloudpulse.durations import Duration, format_duration
from cloudpulse.errors import ConfigError
from cloudpulse.promql import MetricSource, Prometheus
from forecaster import csvfile
from forecaster.forecast import Forecast
from forecaster.frame import Frame, from_series
from forecaster.localtime import Calendar
from forecaster.models import MODELS, build
from forecaster.picture import draw, name_of

_MOST_STEPS = 100_000
_SHOWN = ("5m", "15m", "30m", "1h", "2h", "3h", "6h", "12h", "1d", "2d", "3d", "7d")
"""Lead times in the table, as far as the horizon goes."""


@dataclass(frozen=True)
class _Seconds:
    """What the work took; wall time."""

    train: float
    predict: float


def _duration(ctx: click.Context, param: click.Parameter, value: str) -> Duration:
    try:
        parsed = Duration.parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error
    if parsed <= 0:
        raise click.BadParameter(f'expected more than 0s, got "{value}"', ctx, param)
    return parsed


def _levels(ctx: click.Context, param: click.Parameter, value: str) -> tuple[float, ...]:
    try:
        levels = tuple(float(part) for part in value.split(","))
    except ValueError:
        levels = ()
    rising = all(a < b for a, b in itertools.pairwise(levels))
    if not levels or not all(0 < level < 1 for level in levels) or not rising:
        message = f'expected rising numbers between 0 and 1 such as 0.1,0.5,0.9, got "{value}"'
        raise click.BadParameter(message, ctx, param)
    return levels


def _calendar(ctx: click.Context, param: click.Parameter, value: str) -> Calendar:
    try:
        return Calendar(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error


@click.command("forecast")
@click.argument("promql", required=False)
@click.option(
    "--csv",
    "csv_path",
    type=click.Path(path_type=Path),
    help="A wide CSV instead of PROMQL: timestamp (UTC), series...",
)
@click.option("--horizon", callback=_duration, default="24h", show_default=True, help="How far ahead.")
@click.option("--step", callback=_duration, default="5m", show_default=True, help="Grid; of a CSV its own.")
@click.option("--history", callback=_duration, default="14d", show_default=True, help="How much PROMQL is read back.")
@click.option("--levels", callback=_levels, default="0.1,0.5,0.9", show_default=True, help="Quantiles to forecast.")
@click.option("--models", default="auto", show_default=True, help=f"auto, or some of {', '.join(MODELS)}.")
@click.option("--timezone", callback=_calendar, default="UTC", show_default=True, help="Whose days: Europe/Berlin.")
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
    model = build("auto" if models == "auto" else tuple(name.strip() for name in models.split(",")), timezone)
    with _progress(f"reading {csv_path or promql}"):
        frame = (
            csvfile.read(csv_path, step)
            if csv_path
            else _queried(_source(url, config_path), promql or "", step, history)
        )
    with _progress(f"training on {len(frame.labels)} series"):
        began = time.perf_counter()
        predictor = model.fit(frame, steps)
        trained = time.perf_counter()
        forecast = predictor.predict(frame, steps, levels)
        seconds = _Seconds(trained - began, time.perf_counter() - trained)
    _note_silent(forecast)
    if plot is not None:
        draw(plot, frame, forecast, promql or (csv_path or plot).stem)
    click.echo(_json(forecast, seconds) if as_json else _table(forecast))


def _source(url: str | None, config_path: Path | None) -> MetricSource:
    if url is not None:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f'--url: expected a URL that starts with http:// or https://, got "{url}"')
        settings = config.read(config_path).section("prometheus", PrometheusSettings)
        return Prometheus(msgspec.structs.replace(settings, url=url))
    return Prometheus(config.read(config_path).section("prometheus", PrometheusSettings))


def _queried(source: MetricSource, query: str, step: float, history: float) -> Frame:
    """The newest `history` of `query` on grid points that are multiples of the step."""
    end = time.time() // step * step
    length = max(2, int(history // step))
    start = end - (length - 1) * step
    series = source.range(query, start, end, step)
    if not series:
        raise ConfigError(f"the query answers no series for the last {format_duration(history)}: {query}")
    return from_series(series, start, step, length)


def _note_silent(forecast: Forecast) -> None:
    """Say on stderr which series got no forecast; raise ConfigError when none did."""
    silent = [name_of(forecast, i) for i, values in enumerate(forecast.values) if math.isnan(values[0, 0])]
    if silent and len(silent) == len(forecast.labels):
        raise ConfigError("no series has enough observations for a forecast: at least 3 different points are needed")
    for name in silent:
        click.echo(f"no forecast for {name}: it has fewer than 3 observations", err=True)


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


@contextlib.contextmanager
def _progress(what: str) -> Iterator[None]:
    """A spinner on a terminal's stderr; in a pipe nothing."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield
