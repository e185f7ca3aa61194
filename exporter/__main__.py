"""`cloudpulse exporter`: wires the settings, the collectors and the server."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import click

from cloudpulse import config, logs, options
from cloudpulse.reloading import Reload
from exporter import sight
from exporter.app import Exporter, create_face
from exporter.config import ExporterSettings
from exporter.flags import ExporterCommand, applied, collector_options

DEFAULT_PORT = 9810


@click.command(cls=ExporterCommand)
@options.web_options(DEFAULT_PORT)
@options.log_options
@options.config_option
@collector_options
def command(
    config_path: Path | None,
    log_level: str,
    log_format: str,
    listen: str,
    web_config: Path | None,
    lifecycle: bool,
    access_log: bool,
    **collectors: Any,
) -> None:
    """Show this host as metrics."""
    logs.configure(log_level, log_format)

    def load() -> ExporterSettings:
        return applied(config.read(config_path).section("exporter", ExporterSettings), collectors)

    web = options.WebOptions(listen, web_config, lifecycle, access_log)
    options.record_spans("exporter", config.read(config_path))
    exporter = Exporter(load)
    # In a thread: a filesystem that hangs must not keep the exporter from starting.
    threading.Thread(target=sight.report, args=(load(),), name="sight", daemon=True).start()
    reload = Reload(exporter.apply, time.time, web.file)
    face = create_face(exporter, reload, lifecycle=lifecycle)
    options.run(options.serve(face, web), "exporter", reload)


if __name__ == "__main__":
    command()
