"""`cloudpulse check`: is the config file right?"""

from __future__ import annotations

import importlib
from pathlib import Path

import click

from cloudpulse import config
from cloudpulse.options import config_option

KINDS = {
    "prometheus": "cloudpulse.config:PrometheusSettings",
    "exporter": "exporter.config:ExporterSettings",
    "forecaster": "forecaster.config:ForecasterSettings",
    "alert_bridge": "alert_bridge.config:AlertBridgeSettings",
    "scaler": "scaler.config:ScalerSettings",
}
"""Section -> the type that describes it, by name: the shared ground imports no service."""


@click.command()
@config_option
def command(config_path: Path | None) -> None:
    """Validate the config file: every section, every key."""
    file = config.read(config_path)
    for section, kind in KINDS.items():
        module, _, name = kind.partition(":")
        file.section(section, getattr(importlib.import_module(module), name))
    found = ", ".join(file.tree) or "nothing: every default applies"
    click.echo(f"{file.path} is fine ({found})")
