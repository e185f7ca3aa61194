"""`cloudpulse simulate`: would scaling ahead have served this load better? Nothing is stored, nothing is scaled."""

from __future__ import annotations

import functools
import math
from dataclasses import astuple
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np

from cloudpulse import ahead, logs, options, progress
from cloudpulse.durations import Duration, format_duration
from cloudpulse.errors import ConfigError
from forecaster import arguments, csvfile, reading, replay, simulation, simulation_outcome
from forecaster.frame import Frame
from forecaster.localtime import Calendar
from forecaster.models import MODELS, build, fit
from forecaster.models.grid import DAY_SECONDS, DAYS, Grid
from forecaster.picture import promql_name
from forecaster.prices import Prices
from forecaster.replay import Rhythm
from forecaster.simulation import Choice
from forecaster.sizing import Asked, Command, scaling_options

_WARM_UP_DAYS, _LEAST_DAYS = 7.0, 2.0
"""A week is learnt from before the first forecast, or half of a shorter history; one under two days is too short."""
_ALL_DAYS = 36500.0
_TRAIN_EVERY_SECONDS = 6 * 3600.0
_LEVELS = f"0.5,{ahead.DEFAULT_LEVEL:g},0.9"
_AUTO = "auto"


def _horizons(ctx: click.Context, param: click.Parameter, value: str) -> tuple[Duration | None, ...]:
    """A callback for `--horizons`; None stands for `auto`."""
    parts = [part.strip() for part in value.split(",")]
    return tuple(None if part == _AUTO else arguments.duration(ctx, param, part) for part in parts)


def _price_options(command: Command) -> Command:
    for name, what in (
        ("unserved", "a unit of load unserved for 1 s"),
        ("short-minute", "a minute short of capacity"),
        ("pod-hour", "a pod for an hour"),
    ):
        option = click.option(f"--price-{name}", type=click.FloatRange(0), default=0.0, help=f"Price of {what}.")
        command = option(command)
    return command


@click.command("simulate")
@click.argument("promql", required=False)
@click.option(
    "--csv", "csv_path", type=click.Path(path_type=Path), help="A CSV instead of PROMQL, or -: timestamp (UTC),value."
)
@click.option("--step", callback=arguments.duration, default="1m", show_default=True, help="Grid; of a CSV its own.")
@click.option("--history", callback=arguments.optional_duration, help="What is replayed.  [default: 14d; all of a CSV]")
@click.option("--levels", callback=arguments.levels, default=_LEVELS, show_default=True, help="To choose from.")
@click.option(
    "--horizons",
    callback=_horizons,
    default="auto,10m,15m",
    show_default=True,
    help="To choose from; auto is what --ready needs.",
)
@scaling_options
@click.option("--every", callback=arguments.optional_duration, help="Between forecasts.  [default: 1m, or the step]")
@click.option("--models", default="auto", show_default=True, help=f"auto, or some of {', '.join(MODELS)}.")
@click.option("--timezone", callback=arguments.calendar, default="UTC", show_default=True, help="Whose days.")
@_price_options
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a report with pictures.")
@click.option("--url", help="Prometheus; default: the config's prometheus.url, else http://localhost:9090.")
@options.config_option
def command(
    promql: str | None,
    csv_path: Path | None,
    step: Duration,
    history: Duration | None,
    levels: tuple[float, ...],
    horizons: tuple[Duration | None, ...],
    every: Duration | None,
    models: str,
    timezone: Calendar,
    price_pod_hour: float,
    price_short_minute: float,
    price_unserved: float,
    as_json: bool,
    html: Path | None,
    url: str | None,
    config_path: Path | None,
    **scaling: Any,
) -> None:
    """Replay the load PROMQL through the HPA's algorithm: reactive against predictive scaling."""
    logs.configure("warning")
    if (promql is None) == (csv_path is None):
        raise click.UsageError("expected either a PROMQL expression or --csv FILE")
    names = arguments.models(models)
    build(names, timezone)  # a name that doesn't exist is refused before anything is read
    prices = Prices(price_pod_hour, price_short_minute, price_unserved)
    if not all(map(math.isfinite, astuple(prices))):
        raise click.UsageError("--price-...: expected numbers, got one that is none")
    if html is not None and not html.parent.is_dir():
        raise click.UsageError(f"--html {html}: there is no folder {html.parent}")
    asked = Asked(**scaling)
    manifest = asked.check()
    title = promql or ("stdin" if csv_path == csvfile.STDIN else str(csv_path))
    with progress.shown(f"reading {title}"):
        if csv_path is not None:
            found = csvfile.read(csv_path, step, history / DAY_SECONDS if history else _ALL_DAYS)
        else:
            seconds = history or DAYS * DAY_SECONDS
            found = reading.queried(reading.source(url, config_path), title, step, seconds)
    load = _load(found)
    setup = asked.setup(load, manifest)
    far = [one or ahead.horizon_seconds(asked.ready, load.step) for one in horizons]
    steps = sorted({math.ceil(seconds / load.step - 1e-9) for seconds in far})
    rhythm = _rhythm(load, every)
    if steps[-1] > load.length - rhythm.warm_up:
        raise ConfigError(f"--horizons: {format_duration(steps[-1] * load.step)} is longer than what is simulated")
    with progress.shown("forecasting", load.length - rhythm.warm_up, "steps") as done:
        train = functools.partial(fit, names, timezone)
        curve = sorted({one + later for one in steps for later in range(rhythm.every)})
        replayed = replay.replay(load, train, curve, levels, rhythm, done)
    try:
        choices = [Choice(one, level) for one in steps for level in levels]
        outcome = simulation.simulate(load, replayed, choices, setup)
    except ValueError as error:
        raise ConfigError(f"{title}: {error}") from error
    if html is not None:
        from forecaster import simulation_report

        simulation_report.write(html, title, outcome, prices)
    if as_json:
        about = {"load": title, "forecasts_every_seconds": rhythm.every * float(load.step)}
        click.echo(msgspec.json.encode(about | simulation_outcome.data(outcome, prices)).decode())
    else:
        click.echo(logs.printable_text(simulation_outcome.text(outcome, prices)))


def _load(found: Frame) -> Frame:
    """The one series, from its first sample to its last; raises ConfigError for what is no load of some days."""
    if len(found.labels) != 1:
        names = ", ".join(promql_name(labels) for labels in found.labels[:3])
        raise ConfigError(f"expected one load, got {len(found.labels)} series: {names}...: add them up with sum(...)")
    seen = np.flatnonzero(~np.isnan(found.values[0]))
    load = found.between(int(seen[0]), int(seen[-1]) + 1) if len(seen) else found.between(0, 0)
    if load.length < _LEAST_DAYS * Grid(load.step).day:
        known = format_duration(load.length * load.step)
        raise ConfigError(f"{known} of load: {_LEAST_DAYS:g} days are needed, to learn from and to simulate")
    if np.nanmin(load.values) < 0:
        raise ConfigError(f"a load is never below 0, but this falls to {np.nanmin(load.values):g}")
    return load


def _rhythm(load: Frame, every: Duration | None) -> Rhythm:
    day = Grid(load.step).day

    def steps(seconds: float) -> int:
        return max(1, round(seconds / load.step))

    warm_up = min(int(_WARM_UP_DAYS * day), load.length // 2)
    return Rhythm(steps(every or 60.0), steps(_TRAIN_EVERY_SECONDS), DAYS * day, warm_up)
