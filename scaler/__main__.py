"""`cloudpulse scaler`: wires settings, Prometheus, the service and its HTTPS server together."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from prometheus_client import CollectorRegistry, ProcessCollector

from cloudpulse import config, logs, options, webconfig
from cloudpulse.build import BuildInfo
from cloudpulse.config import PrometheusSettings
from cloudpulse.errors import ConfigError
from cloudpulse.promql import Prometheus
from cloudpulse.reloading import Reload
from cloudpulse.serving import Face, Health, Link, Server, WsgiApp
from scaler.certificate import self_signed
from scaler.config import ScalerSettings
from scaler.docker.fleet import Fleet
from scaler.meters import Meters
from scaler.service import Service

if TYPE_CHECKING:
    from scaler.keda.server import KedaServer

DEFAULT_PORT = 9813
THREADS = 32
"""Each kept-alive connection that has a request under way holds one."""

log = logs.get(__name__)


@click.command("scaler")
@options.config_option
@options.web_options(DEFAULT_PORT)
@options.log_options
def command(
    config_path: Path | None, listen: str, web_config: Path | None, lifecycle: bool, log_level: str, log_format: str
) -> None:
    """Answer the Kubernetes HPA's custom and external metrics, over HTTPS, and KEDA, from PromQL."""
    logs.configure(log_level, log_format)
    file = config.read(config_path)
    settings = file.section("scaler", ScalerSettings)
    source = Prometheus(file.section("prometheus", PrometheusSettings))
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    meters = Meters(registry, time.time)
    service = Service(settings, source, meters, time.time)
    keda = _keda(settings, service, meters)
    fleet = Fleet(
        settings.docker, lambda metric, series: service.provider.external(metric, "", series), registry, time.time
    )

    def apply() -> None:
        anew = config.read(config_path).section("scaler", ScalerSettings)
        before = (settings.data_dir, settings.tls, settings.auth.client_ca_file, settings.keda)
        if (anew.data_dir, anew.tls, anew.auth.client_ca_file, anew.keda) != before:
            raise ConfigError(
                "scaler.data_dir, scaler.tls, scaler.auth.client_ca_file and scaler.keda need a restart to change"
            )
        service.apply(anew)
        fleet.apply(anew.docker)

    reload = Reload(apply, time.time)
    face = Face(
        "scaler",
        (BuildInfo(), registry, reload),
        lambda: together(service.health(), fleet.health(), *((keda.health(),) if keda else ())),
        links=(Link("/apis", "Metrics APIs"), Link("/openapi/v2", "OpenAPI")),
        app=service,
        reload=reload if lifecycle else None,
    )
    try:
        if keda is not None:
            keda.start()  # before the HTTPS server is there, whose threads would outlive a failure
        server = _server(face, options.WebOptions(listen, web_config, lifecycle), settings)
        service.start()
        fleet.start()
        options.run(server, "scaler", reload, lambda: _close(keda, fleet))
    finally:
        _close(keda, fleet)
        service.close()
        source.close()


def _keda(settings: ScalerSettings, service: Service, meters: Meters) -> KedaServer | None:
    if settings.keda is None:
        return None
    from scaler.keda.server import KedaServer  # without the section gRPC stays unloaded

    return KedaServer(settings.keda, lambda: service.provider, meters, time.time)


def _close(keda: KedaServer | None, fleet: Fleet) -> None:
    if keda is not None:
        keda.close()
    fleet.close()


def together(*parts: Health) -> Health:
    """Ready when all parts are; the facts of all."""
    return Health(all(part.ready for part in parts), {key: fact for part in parts for key, fact in part.facts.items()})


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
