"""`cloudpulse models`: look at the versions of trained models, go back to one, delete old ones."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from cloudpulse import config
from cloudpulse.durations import format_duration
from cloudpulse.errors import ConfigError, StoreError
from cloudpulse.options import config_option
from forecaster.config import ForecasterSettings, Target
from forecaster.registry import About, Manifest, Registry

_json_option = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")


@click.group("models")
def command() -> None:
    """Versions of the trained models. All of this also works while the forecaster runs."""


@command.command("list")
@config_option
@_json_option
def list_versions(config_path: Path | None, as_json: bool) -> None:
    """Every version of every forecast, the newest last.

    The newest whole one is in use, and what has been trained since for the one under way.
    """
    settings = config.read(config_path).section("forecaster", ForecasterSettings)
    rows = []
    for target in settings.forecasts:
        registry = _registry(settings, target)
        for number in registry.numbers():
            try:
                rows.append(_row(target, registry, registry.manifest(number)))
            except StoreError as error:
                click.echo(f"version {number} of {target.name} is left out: {error}", err=True)
        for number in registry.under_way():
            if parts := registry.parts(number):
                facts = _facts(target, registry, number, [part.about for part in parts])
                rows.append({**facts, "in_use": parts[-1].purpose == target.purpose})
    if as_json:
        click.echo(_json(rows))
    elif not rows:
        click.echo(f"no models yet under {settings.data_dir}")
    else:
        click.echo(
            f"{'forecast':<20} {'version':>7}  {'trained (UTC)':<19}  {'history':>9} {'series':>6} {'parts':>5}"
            f" {'size':>8}  {'code':<8} note"
        )
        for row in rows:
            click.echo(
                f"{row['forecast']:<20} {row['version']:>7}  {row['trained_at'][:19]:<19}  {row['history']:>9}"
                f" {row['series']:>6} {row['parts']:>5} {_size(row['bytes']):>8}  {row['code']:<8} {_note(row)}"
            )


@command.command("show")
@click.argument("name")
@click.argument("version", type=int)
@config_option
@_json_option
def show(name: str, version: int, config_path: Path | None, as_json: bool) -> None:
    """All that is known of VERSION of the forecast NAME: data, weights by model, how it did, its files."""
    settings, target = _target(config_path, name)
    registry = _registry(settings, target)
    manifest = _manifest(registry, name, version)
    facts = {
        **_row(target, registry, manifest),
        "data_start": _time(min(part.about.data_start for part in manifest.parts)),
        "data_end": _time(max(part.about.data_end for part in manifest.parts)),
        "finished_at": _time(manifest.finished_at),
        "training_seconds": round(sum(part.about.seconds for part in manifest.parts), 1),
        "weights": {model: round(share, 4) for model, share in _weights(manifest).items()},
        "mase": dict(manifest.mase),
        "purpose": manifest.purpose,
        "files": [{"file": part.file, "sha256": part.sha256, "series": part.about.series} for part in manifest.parts],
    }
    if as_json:
        click.echo(_json(facts))
        return
    for key, value in facts.items():
        if key == "files":
            click.echo(f"{'files':<17} " + f"\n{'':<17} ".join(_file(one) for one in value))
        elif isinstance(value, dict):
            click.echo(f"{key:<17} " + (", ".join(f"{k} {v:.3g}" for k, v in value.items()) or "not known"))
        elif value is not None:
            click.echo(f"{key:<17} {_size(value) if key == 'bytes' else value}")


@command.command("rollback")
@click.argument("name")
@click.argument("version", type=int)
@config_option
def rollback(name: str, version: int, config_path: Path | None) -> None:
    """Put VERSION of the forecast NAME in use again.

    Its models become a new version, the newest. A running forecaster takes it up in its next round, a stopped one
    when it starts. Its series are trained again when their turn comes, within train_every from now; that makes a
    further version.
    """
    settings, target = _target(config_path, name)
    registry = _registry(settings, target)
    manifest = _manifest(registry, name, version)
    if version == max(registry.numbers()):
        raise ConfigError(f"version {version} of {name} is in use already")
    if manifest.purpose != target.purpose:
        raise ConfigError(
            f"version {version} of {name} was trained for another query, step, horizon or models "
            f"({manifest.purpose}): change the config back first"
        )
    made = registry.roll_back(version, time.time())
    click.echo(f"{name} uses the models of version {version} again, as version {made.number}")


@command.command("prune")
@click.argument("name")
@click.option("--keep", type=click.IntRange(min=1), required=True, help="How many of the newest versions stay.")
@config_option
def prune(name: str, keep: int, config_path: Path | None) -> None:
    """Delete the older versions of the forecast NAME; the one in use always stays."""
    settings, target = _target(config_path, name)
    gone = _registry(settings, target).prune(keep)
    click.echo(f"deleted of {name}: {', '.join(map(str, gone))}" if gone else f"nothing to delete of {name}")


def _target(config_path: Path | None, name: str) -> tuple[ForecasterSettings, Target]:
    settings = config.read(config_path).section("forecaster", ForecasterSettings)
    for target in settings.forecasts:
        if target.name == name:
            return settings, target
    names = ", ".join(target.name for target in settings.forecasts) or "none"
    raise ConfigError(f'no forecast is named "{name}": the config has {names}')


def _registry(settings: ForecasterSettings, target: Target) -> Registry:
    return Registry(settings.data_dir / "models" / target.name)


def _manifest(registry: Registry, name: str, version: int) -> Manifest:
    if version not in registry.numbers():
        there = ", ".join(map(str, registry.numbers())) or "none"
        raise ConfigError(f"{name} has no version {version}: there are {there}")
    return registry.manifest(version)


def _row(target: Target, registry: Registry, manifest: Manifest) -> dict[str, Any]:
    return {
        **_facts(target, registry, manifest.number, [part.about for part in manifest.parts]),
        "whole": True,
        "in_use": manifest.number == max(registry.numbers()) and manifest.purpose == target.purpose,
        "rollback_of": manifest.rollback_of,
    }


def _facts(target: Target, registry: Registry, number: int, abouts: Sequence[About]) -> dict[str, Any]:
    """What is known of a version, whole or under way."""
    return {
        "forecast": target.name,
        "version": number,
        "trained_at": _time(max(about.trained_at for about in abouts)),
        "history": format_duration(max(about.data_end - about.data_start for about in abouts)),
        "series": sum(about.series for about in abouts),
        "parts": len(abouts),
        "bytes": registry.size(number),
        "code": abouts[-1].code,
        "whole": False,
        "in_use": False,
        "rollback_of": None,
    }


def _weights(manifest: Manifest) -> Mapping[str, float]:
    """Mean share of each model over the series."""
    total: dict[str, float] = {}
    for part in manifest.parts:
        for model, share in part.about.weights.items():
            total[model] = total.get(model, 0.0) + share * part.about.series
    return {model: share / manifest.series for model, share in sorted(total.items(), key=lambda pair: -pair[1])}


def _note(row: Mapping[str, Any]) -> str:
    under_way = "" if row["whole"] else "under way"
    back = f"rollback of {row['rollback_of']}" if row["rollback_of"] is not None else ""
    return ", ".join(note for note in ("in use" if row["in_use"] else "", under_way, back) if note)


def _file(one: Mapping[str, Any]) -> str:
    return f"{one['file']}  {one['series']} series  sha256 {one['sha256'][:16]}…"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def _time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")


def _json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
