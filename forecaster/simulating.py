"""`cloudpulse simulate`: would scaling ahead have served this load better? Nothing is stored, nothing is scaled."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
import numpy as np

from cloudpulse import ahead, logs, options, progress
from cloudpulse.durations import Duration, format_duration
from cloudpulse.errors import ConfigError
from cloudpulse.hpa import DEFAULT_SYNC_SECONDS
from forecaster import arguments, csvfile, reading, replay, simulation, simulation_outcome
from forecaster.frame import Frame
from forecaster.localtime import Calendar
from forecaster.models import MODELS, build, fit
from forecaster.models.grid import DAY_SECONDS, DAYS, Grid
from forecaster.picture import promql_name
from forecaster.prices import Prices
from forecaster.replay import Replayed, Rhythm
from forecaster.simulation import Choice
from forecaster.sizing import Asked

Command = TypeVar("Command", bound=Callable[..., Any])

_WARM_UP_DAYS, _LEAST_DAYS = 7.0, 2.0
"""A week is learnt from before the first forecast, or half of a shorter history; one under two days is too short."""
_ALL_DAYS = 36500.0
_TRAIN_EVERY_SECONDS = 6 * 3600.0
_LEVELS = f"0.5,0.7,{ahead.DEFAULT_LEVEL:g}"
_AUTO = "auto"


def _share(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """A callback for `--target`: `70%` or `0.7`."""
    if value is None:
        return None
    try:
        share = float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise click.BadParameter(f'expected a share up to 100% such as 70%, got "{value}"', ctx, param)
    return share


def _horizons(ctx: click.Context, param: click.Parameter, value: str) -> tuple[Duration | None, ...]:
    """A callback for `--horizons`; None stands for `auto`."""
    parts = [part.strip() for part in value.split(",")]
    return tuple(None if part == _AUTO else arguments.duration(ctx, param, part) for part in parts)


def _scaling_options(command: Command) -> Command:
    """What is scaled and how: the fields of `Asked`."""
    above = click.FloatRange(0, min_open=True)
    path = click.Path(path_type=Path, dir_okay=False)
    late: dict[str, Any] = {"callback": arguments.duration, "show_default": True}
    for option in reversed(
        (
            click.option("--pod-capacity", type=above, help="The load that one pod serves."),
            click.option("--mean-pods", type=above, help="Instead: so many serve the mean load.  [default: 10]"),
            click.option("--target", callback=_share, help="Share of a pod that the HPA aims at.  [default: 70%]"),
            click.option("--min", "minimum", type=click.IntRange(0), help="minReplicas.  [default: 1]"),
            click.option(
                "--max", "maximum", type=click.IntRange(1), help="maxReplicas.  [default: twice what the peak needs]"
            ),
            click.option("--hpa", "hpa_path", type=path, help="A manifest: its bounds, behavior and target."),
            click.option(
                "--ready", default=format_duration(ahead.DEFAULT_READY_SECONDS), help="Until a new pod serves.", **late
            ),
            click.option("--sync", default=format_duration(DEFAULT_SYNC_SECONDS), help="The HPA's period.", **late),
            click.option(
                "--lag",
                default=format_duration(simulation.DEFAULT_LAG_SECONDS),
                help="Until a load is known: scrape, scaler.",
                **late,
            ),
        )
    ):
        command = option(command)
    return command


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
@_scaling_options
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
    asked = Asked(**scaling)
    manifest = asked.check()
    with progress.shown(f"reading {csv_path or promql}"):
        if csv_path is not None:
            found = csvfile.read(csv_path, step, history / DAY_SECONDS if history else _ALL_DAYS)
        else:
            seconds = history or DAYS * DAY_SECONDS
            found = reading.queried(reading.source(url, config_path), promql or "", step, seconds)
    load = _load(found)
    setup = asked.setup(load, manifest)
    steps = [math.ceil((one or ahead.horizon_seconds(asked.ready)) / load.step - 1e-9) for one in horizons]
    choices = [Choice(one, level) for one in sorted(set(steps)) for level in levels]
    train = functools.partial(fit, names, timezone)
    rhythm = _rhythm(load, every)
    replayed = _replayed(load, sorted(set(steps)), levels, rhythm, train)
    outcome = simulation.simulate(load, replayed, choices, setup)
    prices = Prices(price_pod_hour, price_short_minute, price_unserved)
    title = promql or ("stdin" if csv_path == csvfile.STDIN else str(csv_path))
    if html is not None:
        from forecaster import simulation_report

        simulation_report.write(html, title, outcome, prices)
    if as_json:
        about = {"load": title, "forecasts_every_seconds": rhythm.every * float(load.step)}
        click.echo(msgspec.json.encode(about | simulation_outcome.data(outcome, prices)).decode())
    else:
        click.echo(simulation_outcome.text(outcome, prices))


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


def _replayed(
    load: Frame,
    steps: list[int],
    levels: tuple[float, ...],
    rhythm: Rhythm,
    train: Callable[[Frame, int], Any],
) -> Replayed:
    with progress.shown("forecasting", load.length - rhythm.warm_up, "steps") as done:
        return replay.replay(load, train, steps, levels, rhythm, done)
