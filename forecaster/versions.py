"""`cloudpulse models`: what was trained, when, on what."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from cloudpulse import config
from cloudpulse.durations import format_duration
from cloudpulse.options import config_option
from forecaster.config import ForecasterSettings
from forecaster.registry import Registry, Version


@click.group("models")
def command() -> None:
    """Versions of the trained models."""


@command.command("list")
@config_option
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
def list_versions(config_path: Path | None, as_json: bool) -> None:
    """Every version of every forecast, the newest (in use) last."""
    settings = config.read(config_path).section("forecaster", ForecasterSettings)
    rows = []
    for target in settings.forecasts:
        registry = Registry(settings.data_dir / "models" / target.name)
        rows += [_row(target.name, registry.load(number)) for number in registry.numbers()]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif not rows:
        click.echo(f"no models yet under {settings.data_dir}")
    else:
        click.echo(f"{'forecast':<20} {'version':>7}  {'trained (UTC)':<19}  {'history':>9} {'series':>6}  code")
        for row in rows:
            click.echo(
                f"{row['forecast']:<20} {row['version']:>7}  {str(row['trained_at'])[:19]:<19}  {row['history']:>9}"
                f" {row['series']:>6}  {row['code']}"
            )


def _row(name: str, version: Version) -> dict[str, str | int]:
    return {
        "forecast": name,
        "version": version.number,
        "trained_at": datetime.fromtimestamp(version.about.trained_at, UTC).isoformat(timespec="seconds"),
        "history": format_duration(version.about.data_end - version.about.data_start),
        "series": version.about.series,
        "code": version.about.code,
    }
