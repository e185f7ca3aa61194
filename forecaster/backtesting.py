"""`cloudpulse backtest`: how good would the configured forecasts have been on this history? Nothing is stored."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import click
import msgspec
import numpy as np

from cloudpulse import config, logs, options, progress
from cloudpulse.config import ConfigFile
from cloudpulse.durations import Duration, format_duration
from cloudpulse.errors import ConfigError, SourceError
from forecaster import arguments, csvfile, evaluation, outcome, reading
from forecaster.config import ForecasterSettings, Target
from forecaster.evaluation import Study
from forecaster.frame import Frame
from forecaster.models import MODELS, fit
from forecaster.models.grid import DAY_SECONDS
from forecaster.outcome import Outcome
from forecaster.verdicts import judge

CSV_HORIZONS = (Duration.parse("1h"), Duration.parse("24h"))
_MOST_ORIGINS = 100


@dataclass(frozen=True)
class _Asked:
    """A forecast to be tested, and how its data is read: by the seconds needed."""

    name: str
    target: Target
    read: Callable[[float], Frame]


@click.command("backtest")
@click.option("--forecast", "names", multiple=True, metavar="NAME", help="Only this one of the config; repeatable.")
@click.option(
    "--csv", "csv_path", type=click.Path(path_type=Path), help="A wide CSV instead of the config, or - for stdin."
)
@click.option("--step", callback=arguments.optional_duration, help="The CSV's grid.  [default: 5m]")
@click.option("--horizon", "horizons", multiple=True, callback=arguments.durations, help="Other horizons; repeatable.")
@click.option("--history", callback=arguments.optional_duration, help="What each training sees; default: the config's.")
@click.option("--models", help=f"Other models: auto, or some of {', '.join(MODELS)}.")
@click.option(
    "--origins", "count", type=click.IntRange(1, _MOST_ORIGINS), default=5, show_default=True, help="Forecasts in time."
)
@click.option("--json", "as_json", is_flag=True, help="JSON with every series instead of a table.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a report with plots.")
@click.option("--url", help="Prometheus; default: the config's prometheus.url.")
@options.config_option
def command(
    names: tuple[str, ...],
    csv_path: Path | None,
    step: Duration | None,
    horizons: tuple[Duration, ...],
    history: Duration | None,
    models: str | None,
    count: int,
    as_json: bool,
    html: Path | None,
    url: str | None,
    config_path: Path | None,
) -> None:
    """Test forecasts on the past: from each of several origins, trained on what lies before it only."""
    logs.configure("warning")
    if csv_path is not None:
        if names or url:
            raise click.UsageError("--csv is tested alone: leave out --forecast and --url")
        asked = [_of_csv(csv_path, step or Duration.parse("5m"), horizons)]
    else:
        if step is not None:
            raise click.UsageError("--step is the CSV's: a configured forecast has its own")
        asked = list(_of_config(config.read(config_path), names, url, config_path))
    asked = [replace(one, target=_changed(one.target, horizons, history, models)) for one in asked]
    outcomes = [_outcome(one, count) for one in asked]
    if html is not None:
        from forecaster import report

        report.write(html, outcomes)
    if as_json:
        click.echo(msgspec.json.encode({"forecasts": [outcome.data(one) for one in outcomes]}).decode())
    else:
        click.echo(logs.printable_text("\n\n".join(outcome.text(one) for one in outcomes)))
        if any(one.result for one in outcomes):
            click.echo(f"\n{outcome.LEGEND}")
    if any(one.error for one in outcomes):
        sys.exit(1)


def _of_csv(path: Path, step: Duration, horizons: tuple[Duration, ...]) -> _Asked:
    ahead = horizons or tuple(one for one in CSV_HORIZONS if one >= step)
    target = _checked(lambda: Target(name="csv", query=str(path), step=step, horizons=ahead))
    name = "stdin" if path == csvfile.STDIN else path.name.partition(".")[0]
    return _Asked(name, target, lambda seconds: csvfile.read(path, step, seconds / DAY_SECONDS))


def _of_config(file: ConfigFile, names: tuple[str, ...], url: str | None, config_path: Path | None) -> Iterator[_Asked]:
    targets = {target.name: target for target in file.section("forecaster", ForecasterSettings).forecasts}
    if not targets:
        raise ConfigError(f"{file.path}: no forecasts: add one under forecaster.forecasts, or give --csv FILE")
    for name in names:
        if name not in targets:
            raise ConfigError(f'--forecast: there is no "{name}" in {file.path}, expected one of {", ".join(targets)}')
    source = reading.source(url, config_path)
    for name, target in targets.items():
        if not names or name in names:
            yield _Asked(name, target, partial(reading.queried, source, target.query, target.step))


def _changed(target: Target, horizons: tuple[Duration, ...], history: Duration | None, models: str | None) -> Target:
    changes = {
        "horizons": horizons or target.horizons,
        "history": history or target.history,
        "models": arguments.models(models) if models else target.models,
    }
    return _checked(lambda: msgspec.structs.replace(target, **changes))


def _checked(make: Callable[[], Target]) -> Target:
    try:
        return make()
    except ValueError as error:
        # A Target's words are the config's, in which what is given here once stands in a list.
        message = re.sub("^horizons(.[0-9]+.)?", "horizon", str(error))
        raise ConfigError(f"--{message}") from error


def _outcome(asked: _Asked, count: int) -> Outcome:
    target = asked.target
    models = target.models if isinstance(target.models, str) else ", ".join(target.models)
    about = Outcome(asked.name, target.query, models)
    longest = float(max(target.horizons))
    try:
        with progress.shown(f"{asked.name}: reading"):
            frame = _observed(asked.read(evaluation.reach(float(target.history), longest)))
    except SourceError as error:
        return replace(about, error=str(error))
    train = functools.partial(fit, target.models, target.calendar)
    study = Study(frame, target.columns, target.horizons, target.all_levels, train, target.bounds)
    places = {one: evaluation.origins(frame.length, study, study.steps(one), count) for one in target.horizons}
    tested = tuple(sorted(one for one, origins in places.items() if origins))
    if not tested:
        known, needed = format_duration(frame.length * frame.step), format_duration(DAY_SECONDS + min(target.horizons))
        return replace(about, error=f"{known} of history: a day to learn from and the horizon are needed, {needed}")
    study = replace(study, horizons=tested)
    with progress.shown(f"{asked.name}: testing", len(frame.labels) * len(places[tested[-1]]), "trainings") as done:
        result = evaluation.evaluate(study, places[tested[-1]], done)
    untested = tuple(one for one in target.horizons if one not in tested)
    return replace(about, result=result, verdicts=judge(result), untested=untested)


def _observed(frame: Frame) -> Frame:
    """From the first column on in which anything is known, with no series that never is."""
    seen = ~np.isnan(frame.values)
    columns = np.flatnonzero(seen.any(0))
    first = int(columns[0]) if len(columns) else frame.length
    return frame.between(first, frame.length).select(np.flatnonzero(seen.any(1)))
