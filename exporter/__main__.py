"""`cloudpulse exporter`: wires the settings, the collectors and the server."""

from __future__ import annotations

import time
from pathlib import Path

import click

from cloudpulse import config, logs, options, tracing
from cloudpulse.reloading import Reload
from exporter.app import Exporter, create_face
from exporter.config import ExporterSettings

DEFAULT_PORT = 9810


@click.command()
@options.web_options(DEFAULT_PORT)
@options.log_options
@options.config_option
def command(
    config_path: Path | None,
    log_level: str,
    log_format: str,
    listen: str,
    web_config: Path | None,
    lifecycle: bool,
    access_log: bool,
) -> None:
    """Show this host as metrics."""
    logs.configure(log_level, log_format)

    def load() -> ExporterSettings:
        return config.read(config_path).section("exporter", ExporterSettings)

    tracing.begin("exporter", config.read(config_path))
    exporter = Exporter(load)
    reload = Reload(exporter.apply, time.time)
    face = create_face(exporter, reload, lifecycle=lifecycle)
    options.run(options.serve(face, options.WebOptions(listen, web_config, lifecycle, access_log)), "exporter", reload)


if __name__ == "__main__":
    command()
