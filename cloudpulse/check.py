"""`cloudpulse check`: is the config file right, and, with `--online`, what does Prometheus answer to it?"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from cloudpulse import config, logs
from cloudpulse.config import ConfigFile, PrometheusSettings
from cloudpulse.errors import DependencyMissing, SourceError
from cloudpulse.findings import Examined, Finding, Probe
from cloudpulse.options import WebOptions, config_option, web_config_option

KINDS = {
    "prometheus": "cloudpulse.config:PrometheusSettings",
    "tracing": "cloudpulse.tracing:TracingSettings",
    "exporter": "exporter.config:ExporterSettings",
    "forecaster": "forecaster.config:ForecasterSettings",
    "alert_bridge": "alert_bridge.config:AlertBridgeSettings",
    "scaler": "scaler.config:read",
}
"""Section -> the type that describes it, or what reads it where it leans on another section; by name: the shared ground
imports no service."""

PROBES = {
    "forecaster": "forecaster.probe:examine",
    "alert_bridge": "alert_bridge.probe:examine",
    "scaler": "scaler.probe:examine",
}
"""Section -> the Probe that asks Prometheus about it, by name for the same reason."""

DESTINATIONS = "alert_bridge.probe:destinations"
"""What tells where an alert goes."""

_COLOURS = {"ok": "green", "note": "cyan", "warn": "yellow", "fail": "red"}


@click.command()
@click.option("--online", is_flag=True, help="Also ask Prometheus: does each query answer, and what will it cost?")
@click.option("--route", metavar="LABELS", help="Say where the alert bridge takes an alert: 'alertname=X,team=web'.")
@config_option
@web_config_option
def command(online: bool, route: str | None, config_path: Path | None, web_config: Path | None) -> None:
    """Validate the config file: every section, every key; and the web config, with the files that it names."""
    logs.configure("warning")
    file = config.read(config_path)
    sections = {section: _read(file, section, _named(kind)) for section, kind in KINDS.items()}
    found = ", ".join(file.tree) or "nothing: every default applies"
    click.echo(f"{file.path} is fine ({found})")
    if (web := WebOptions("", web_config).file) is not None:
        users = len(web.rules().config.basic_auth_users or ())
        click.echo(f"{web_config} is fine ({'TLS' if web.context else 'plain HTTP'}, users: {users or 'everyone'})")
    if route is not None:
        for line in _named(DESTINATIONS)(sections["alert_bridge"], route, time.time()):
            click.echo(logs.printable_text(line))
    if not online:
        return
    failed = False
    for examined in _online(file, sections):
        click.echo(f"\n{logs.printable(examined.place)}")
        for finding in examined.findings:
            failed |= finding.grade == "fail"
            grade = click.style(f"{finding.grade:<4}", fg=_COLOURS[finding.grade])
            click.echo(f"  {grade}  {finding.subject:<10}  {logs.printable_text(finding.text)}")
            if finding.block:
                click.echo(f"\n{logs.printable_text(finding.block)}")
    sys.exit(1 if failed else 0)


def _read(file: ConfigFile, section: str, kind: Any) -> Any:
    return file.section(section, kind) if isinstance(kind, type) else kind(file)


def _named(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def _online(file: ConfigFile, sections: dict[str, Any]) -> Iterator[Examined]:
    """Prometheus itself, then every entry of the sections that the file has and a Probe knows."""
    try:
        from cloudpulse.promql import Prometheus
    except ModuleNotFoundError as error:
        raise DependencyMissing(
            f"`cloudpulse check --online` needs the package {error.name}: pip install 'cloudpulse[forecaster]'"
        ) from error
    settings: PrometheusSettings = sections["prometheus"]
    source = Prometheus(settings)
    began = time.perf_counter()
    try:
        source.instant("vector(1)")
    except SourceError as error:
        yield Examined(f"prometheus {settings.url}", (Finding("fail", "answer", str(error)),))
        return
    taken = f"in {(time.perf_counter() - began) * 1000:.0f} ms"
    yield Examined(f"prometheus {settings.url}", (Finding("ok", "answer", f"to a first query {taken}"),))
    for section, place in PROBES.items():
        if section in file.tree:
            probe: Probe = _named(place)
            yield from probe(sections[section], source)
