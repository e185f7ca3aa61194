"""`cloudpulse alert-bridge`: wires the bridge and serves it."""

from __future__ import annotations

from pathlib import Path

import click

from alert_bridge import insights
from alert_bridge.audit import WEBHOOK
from alert_bridge.bridge import TITLE, Bridge
from alert_bridge.config import AlertBridgeSettings
from cloudpulse import config, logs
from cloudpulse.config import PrometheusSettings
from cloudpulse.errors import ConfigError
from cloudpulse.limits import Limits
from cloudpulse.options import WebOptions, config_option, log_options, record_spans, run, serve, web_options
from cloudpulse.promql import Prometheus

PORT = 9812
THREADS = 32
"""Requests at the same time: each waits for its fsync, and those that wait share one."""


@click.command()
@config_option
@web_options(PORT)
@log_options
def command(
    config_path: Path | None,
    listen: str,
    web_config: Path | None,
    lifecycle: bool,
    access_log: bool,
    log_level: str,
    log_format: str,
) -> None:
    """Carry Alertmanager's webhooks to people: point its webhook_config at http://HOST:9812/api/v1/alerts."""
    logs.configure(log_level, log_format)

    file = config.read(config_path)
    record_spans("alert-bridge", file)
    prometheus = file.section("prometheus", PrometheusSettings)

    def settings() -> AlertBridgeSettings:
        found = config.read(config_path)
        if found.section("prometheus", PrometheusSettings) != prometheus:
            raise ConfigError("prometheus: needs a restart of the alert bridge to change")
        return found.section("alert_bridge", AlertBridgeSettings)

    web = WebOptions(listen, web_config, lifecycle, access_log)
    source = Prometheus(prometheus)
    given = settings()
    expected = any(receiver.insight for receiver in given.all_receivers)
    with insights.asking(given.insight, prometheus, expected=expected) as (found, registries):
        bridge = Bridge(
            given, found, source=source, registries=registries, reread=settings, lifecycle=lifecycle, web=web.file
        )
        try:
            server = serve(
                bridge.face,
                web,
                threads=THREADS,
                limits=Limits(body=bridge.most_body),
                unlimited=[("POST", WEBHOOK)],  # Alertmanager never repeats what it got a 429 for
            )
            bridge.start()
            run(server, TITLE, bridge.reload, stopping=bridge.stop_streams)
        finally:
            bridge.close()
            source.close()


if __name__ == "__main__":
    command()
