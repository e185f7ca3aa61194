"""`cloudpulse forecaster`: wires source, rounds and HTTP face together."""

from __future__ import annotations

import time
from pathlib import Path

import click
from prometheus_client import ProcessCollector
from prometheus_client.core import CollectorRegistry

from cloudpulse import config, logs, options
from cloudpulse.build import BuildInfo
from cloudpulse.config import PrometheusSettings
from cloudpulse.errors import ConfigError
from cloudpulse.folders import claim
from cloudpulse.promql import Prometheus
from cloudpulse.reloading import Reload
from cloudpulse.serving import Collects
from forecaster.app import face
from forecaster.config import ForecasterSettings, Target
from forecaster.exporting import ForecastCollector
from forecaster.meters import Meters
from forecaster.pipeline import Pipeline
from forecaster.rounds import Rounds
from forecaster.store import ForecastStore
from forecaster.training import Trainer


@click.command("forecaster")
@options.config_option
@options.web_options(9811)
@options.log_options
def command(
    config_path: Path | None, listen: str, web_config: Path | None, lifecycle: bool, log_level: str, log_format: str
) -> None:
    """Forecast the configured PromQL expressions and show them as series."""
    logs.configure(log_level, log_format)
    file = config.read(config_path)
    settings = file.section("forecaster", ForecasterSettings)
    source = Prometheus(file.section("prometheus", PrometheusSettings))
    claim(settings.data_dir, "forecaster")
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    meters = Meters(registry)
    store = ForecastStore(time.time)
    trainer = Trainer()

    def make(target: Target) -> Pipeline:
        return Pipeline(target, source, store, trainer, meters, time.time, settings.data_dir, settings.max_series)

    rounds = Rounds(make, store, meters, time.time)

    def apply() -> None:
        anew = config.read(config_path).section("forecaster", ForecasterSettings)
        if (anew.data_dir, anew.max_series) != (settings.data_dir, settings.max_series):
            raise ConfigError("forecaster.data_dir and forecaster.max_series need a restart to change")
        rounds.apply(anew.forecasts)

    reload = Reload(apply, time.time)
    metrics: list[Collects] = [BuildInfo(), registry, reload, ForecastCollector(store, time.time)]
    web = options.WebOptions(listen, web_config, lifecycle)
    server = options.serve(face(store, rounds, time.time, metrics, reload if lifecycle else None), web)
    try:
        rounds.apply(settings.forecasts)
        options.run(server, "forecaster", reload)
    finally:
        rounds.close()
        trainer.close()
        source.close()


if __name__ == "__main__":
    command()
