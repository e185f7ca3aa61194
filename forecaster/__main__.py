"""`cloudpulse forecaster`: wires source, rounds and HTTP face together."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import click
from prometheus_client.core import CollectorRegistry

from cloudpulse import audit, config, logs, options
from cloudpulse.build import BuildInfo
from cloudpulse.config import PrometheusSettings
from cloudpulse.errors import ConfigError
from cloudpulse.folders import claim
from cloudpulse.itself import Itself
from cloudpulse.limits import Limits
from cloudpulse.promql import Prometheus
from cloudpulse.reloading import Reload
from cloudpulse.serving import Collects, Face
from cloudpulse.streaming import Streams
from cloudpulse.websocket import WebSocket
from forecaster import executors
from forecaster.app import LINKS, console_data, create_app, health
from forecaster.config import ForecasterSettings, Target
from forecaster.consolepages import console
from forecaster.curves import Curves
from forecaster.earlier import Earlier, impatient
from forecaster.exporting import ForecastCollector
from forecaster.live import Live, opener
from forecaster.meters import Meters
from forecaster.pipeline import Pipeline
from forecaster.queryapi import views as queryapi
from forecaster.queryapi.catalogue import Catalogue
from forecaster.queryapi.views import MOST_BYTES
from forecaster.relay import Relay
from forecaster.remoteread import app as remoteread
from forecaster.remoteread.question import LARGEST_BODY
from forecaster.rounds import Rounds
from forecaster.shard import Shard
from forecaster.store import ForecastStore
from forecaster.stream import Stream
from forecaster.training import Trainer

THREADS = 32
"""Of the server: reads and queries (10 of each at most) and clients that wait for one leave some for a scrape."""
LIMITS = Limits(body=lambda: max(LARGEST_BODY, MOST_BYTES))
"""As much as remote read and the query API take."""


@click.command("forecaster")
@options.config_option
@click.option("--shard", "shard_text", default="0/1", metavar="I/N", help="Keep only this of N shares of the series.")
@options.web_options(9811)
@options.log_options
def command(
    config_path: Path | None,
    shard_text: str,
    listen: str,
    web_config: Path | None,
    lifecycle: bool,
    access_log: bool,
    log_level: str,
    log_format: str,
) -> None:
    """Forecast the configured PromQL expressions and show them as series.

    Several processes or machines share one config by `--shard`: N forecasters, run with --shard 0/N to --shard
    N-1/N, each keep the series whose stable hash of labels falls to them, forecast and export those alone, and have a
    data_dir of their own. `max_series` counts after that choice. With another N, the models of series that a
    data_dir knows are kept; those of the others are trained.
    """
    logs.configure(log_level, log_format)
    shard = Shard.parse(shard_text)
    file = config.read(config_path)
    options.record_spans("forecaster", file)
    settings = file.section("forecaster", ForecasterSettings)
    asked = file.section("prometheus", PrometheusSettings)
    source = Prometheus(asked)
    claim(settings.data_dir, "forecaster")
    registry = CollectorRegistry()
    meters = Meters(registry)
    store = ForecastStore(time.time)
    trainer = Trainer(executors.chosen(settings), settings.workers, time.time)

    def make(target: Target) -> Pipeline:
        data_dir, max_series = settings.data_dir, settings.max_series
        return Pipeline(target, source, store, trainer, meters, time.time, data_dir, max_series, shard)

    rounds = Rounds(make, store, meters, time.time)

    streams = Streams(settings.stream.most)
    stream = Stream(time.time, streams.wake)
    store.listen(stream.changed)
    meters.streams(lambda: streams.count)
    relay = Relay(settings.alert_bridge, lambda: streams.count > 0, stream.alert, stream.forget_alerts)
    socket = WebSocket(streams, opener(stream, lambda: [target.name for target in rounds.targets()]), lambda _: None)

    def apply() -> None:
        anew = config.read(config_path).section("forecaster", ForecasterSettings)
        for key in ("data_dir", "max_series", "workers", "executor", "stream"):
            if getattr(anew, key) != getattr(settings, key):
                raise ConfigError(f"forecaster.{key} needs a restart to change")
        rounds.apply(anew.forecasts)
        relay.apply(anew.alert_bridge)

    def leave() -> None:
        streams.close()
        relay.close()

    def stop() -> None:
        leaving = threading.Thread(target=leave, name="leaving", daemon=True)
        leaving.start()
        rounds.close()
        leaving.join()

    web = options.WebOptions(listen, web_config, lifecycle, access_log)
    reload = Reload(apply, time.time, web.file)
    metrics: list[Collects] = [
        BuildInfo(),
        Itself(),
        registry,
        reload,
        audit.Failures(),
        ForecastCollector(store, time.time),
    ]
    curves = Curves(store)
    parts = (
        console(),
        console_data(store, rounds, Earlier(impatient(asked)), time.time),
        remoteread.blueprint(curves, meters.read),
        queryapi.blueprint(Catalogue(store, curves, time.time), time.time),
    )
    app = Live(socket, create_app(store, rounds, time.time, parts).wsgi_app)
    face = Face(
        "CloudPulse forecaster",
        metrics,
        lambda: health(store, rounds, relay.state),
        links=LINKS,
        app=app,
        reload=reload if lifecycle else None,
    )
    server = options.serve(face, web, threads=THREADS, limits=LIMITS)
    try:
        streams.start()
        relay.start()
        rounds.apply(settings.forecasts)
        options.run(server, "forecaster", reload, stop)
    finally:
        stop()
        trainer.close()
        source.close()


if __name__ == "__main__":
    command()
