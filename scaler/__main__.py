"""`cloudpulse scaler`: wires settings, Prometheus, the service and its HTTPS server together."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click
from prometheus_client import CollectorRegistry, ProcessCollector

from cloudpulse import config, logs, options, webconfig
from cloudpulse.build import BuildInfo
from cloudpulse.config import PrometheusSettings
from cloudpulse.errors import ConfigError
from cloudpulse.promql import Prometheus
from cloudpulse.reloading import Reload
from cloudpulse.serving import Face, Link, Server, WsgiApp
from scaler.certificate import self_signed
from scaler.config import ScalerSettings, read
from scaler.meters import Meters
from scaler.service import Service

DEFAULT_PORT = 9813
THREADS = 32
"""Each kept-alive connection that has a request under way holds one."""

SWITCH_SECONDS = 0.0005
"""How long an evaluation may keep the interpreter from a request; Python's own 5 ms come several times in one."""

log = logs.get(__name__)


@click.command("scaler")
@options.config_option
@options.web_options(DEFAULT_PORT)
@options.log_options
def command(
    config_path: Path | None, listen: str, web_config: Path | None, lifecycle: bool, log_level: str, log_format: str
) -> None:
    """Answer the Kubernetes HPA's custom and external metrics from PromQL, over HTTPS."""
    logs.configure(log_level, log_format)
    file = config.read(config_path)
    settings = read(file)
    source = Prometheus(file.section("prometheus", PrometheusSettings))
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    sys.setswitchinterval(SWITCH_SECONDS)
    service = Service(settings, source, Meters(registry, time.time), time.time)

    def apply() -> None:
        anew = read(config.read(config_path))
        before = (settings.data_dir, settings.tls, settings.auth.client_ca_file)
        if (anew.data_dir, anew.tls, anew.auth.client_ca_file) != before:
            raise ConfigError("scaler.data_dir, scaler.tls and scaler.auth.client_ca_file need a restart to change")
        service.apply(anew)

    reload = Reload(apply, time.time)
    face = Face(
        "scaler",
        (BuildInfo(), registry, reload),
        service.health,
        links=(Link("/apis", "Metrics APIs"), Link("/openapi/v2", "OpenAPI")),
        app=service,
        reload=reload if lifecycle else None,
    )
    server = _server(face, options.WebOptions(listen, web_config, lifecycle), settings)
    try:
        service.start()
        options.run(server, "scaler", reload)
    finally:
        service.close()
        source.close()


def _server(app: WsgiApp, web: options.WebOptions, settings: ScalerSettings) -> Server:
    if web.web_config is not None:
        if webconfig.read(web.web_config).tls_server_config is None:
            raise ConfigError(f"{web.web_config}: the scaler speaks HTTPS only: add tls_server_config")
        if settings.tls or settings.auth.client_ca_file:
            raise ConfigError(
                "TLS is set twice: keep either --web.config.file or scaler.tls and scaler.auth.client_ca_file"
            )
        return options.serve(app, web, THREADS)
    files = settings.tls or self_signed(settings.data_dir)
    tls = webconfig.TlsServer(
        cert_file=files.cert_file,
        key_file=files.key_file,
        client_ca_file=settings.auth.client_ca_file,
        client_auth_type="VerifyClientCertIfGiven" if settings.auth.client_ca_file else "NoClientCert",
    )
    context = webconfig.ReloadingContext(tls, lambda error: log.error("certificate not reloaded", error=str(error)))
    return Server(app, web.listen, tls=context, threads=THREADS)


if __name__ == "__main__":
    command()
