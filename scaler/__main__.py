"""`cloudpulse scaler`: wires settings, Prometheus, the rules and everyone who asks for them together."""

from __future__ import annotations

import gc
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from prometheus_client import CollectorRegistry

from cloudpulse import audit, config, logs, options
from cloudpulse.build import BuildInfo
from cloudpulse.config import PrometheusSettings
from cloudpulse.errors import ConfigError, DependencyMissing
from cloudpulse.itself import Itself
from cloudpulse.promql import Prometheus
from cloudpulse.reloading import Reload
from cloudpulse.serving import Face, Health, Link
from scaler import https
from scaler.certificate import Expiry
from scaler.config import ScalerSettings, read
from scaler.docker.fleet import Fleet
from scaler.meters import Meters
from scaler.service import Service

if TYPE_CHECKING:  # who needs neither Kubernetes nor KEDA doesn't load them
    from scaler.cluster.connection import Cluster
    from scaler.keda.server import KedaServer

DEFAULT_PORT = 9813
SWITCH_SECONDS = 0.0005
"""How long an evaluation may keep the interpreter from a request; Python's own 5 ms come several times in one."""


@click.command("scaler")
@options.config_option
@options.web_options(DEFAULT_PORT)
@options.log_options
def command(
    config_path: Path | None,
    listen: str,
    web_config: Path | None,
    lifecycle: bool,
    access_log: bool,
    log_level: str,
    log_format: str,
) -> None:
    """Answer the Kubernetes HPA's custom and external metrics, over HTTPS, and KEDA, from PromQL."""
    logs.configure(log_level, log_format)
    file = config.read(config_path)
    options.record_spans("scaler", file)
    settings = read(file)
    prometheus = file.section("prometheus", PrometheusSettings)
    source = Prometheus(prometheus)
    registry = CollectorRegistry()
    sys.setswitchinterval(SWITCH_SECONDS)
    meters = Meters(registry, time.time)
    web = options.WebOptions(listen, web_config, lifecycle, access_log)
    https.check(web, settings)
    cluster = _cluster(settings)
    tls = https.contexts(web, settings, cluster.trust.pem if cluster else lambda: None)
    expiry = Expiry(lambda: tls().certificate)
    service = Service(settings, source, meters, time.time, cluster, expiry, https.client_auth_type(web))
    keda = _keda(settings, service, meters)
    fleet = Fleet(
        settings.docker, lambda metric, series: service.provider.external(metric, "", series), registry, time.time
    )

    def apply() -> None:
        found = config.read(config_path)
        anew = read(found)
        if (found.section("prometheus", PrometheusSettings), _fixed(anew)) != (prometheus, _fixed(settings)):
            raise ConfigError(
                "prometheus, scaler.data_dir, scaler.tls, scaler.keda and scaler.auth's mode, kubeconfig and "
                "client_ca_file need a restart to change"
            )
        service.apply(anew)
        fleet.apply(anew.docker)

    def health() -> Health:
        return _together(service.health(), fleet.health(), *((keda.health(),) if keda else ()))

    def close() -> None:
        if keda is not None:
            keda.close()
        fleet.close()

    reload = Reload(apply, time.time, web.file)
    face = Face(
        "scaler",
        (BuildInfo(), Itself(), registry, reload, audit.Failures()),
        health,
        links=(Link("/apis", "Metrics APIs"), Link("/openapi/v2", "OpenAPI")),
        app=service,
        reload=reload if lifecycle else None,
    )
    try:
        if keda is not None:
            keda.start()  # before the HTTPS server is there, whose threads would outlive a failure
        server = https.server(face, web, tls)
        service.start()
        fleet.start()
        # The garbage collector stops all threads while it looks at what is there, most of it from here on for good.
        gc.freeze()
        options.run(server, "scaler", reload, close)
    finally:
        close()
        service.close()
        source.close()


def _fixed(settings: ScalerSettings) -> tuple[object, ...]:
    auth = settings.auth
    return settings.data_dir, settings.tls, settings.keda, auth.mode, auth.kubeconfig, auth.client_ca_file


def _cluster(settings: ScalerSettings) -> Cluster | None:
    if settings.auth.mode == "static":
        return None
    try:
        from scaler.cluster.connection import Cluster
    except ImportError as error:
        raise DependencyMissing(
            f"scaler.auth: mode delegated needs {error.name}: pip install cloudpulse[scaler]"
        ) from error
    return Cluster(settings.auth.kubeconfig, time.time)


def _keda(settings: ScalerSettings, service: Service, meters: Meters) -> KedaServer | None:
    if settings.keda is None:
        return None
    from scaler.keda.server import KedaServer

    return KedaServer(settings.keda, lambda: service.provider, meters, time.time)


def _together(*parts: Health) -> Health:
    """Ready when all parts are; the facts of all."""
    return Health(all(part.ready for part in parts), {key: fact for part in parts for key, fact in part.facts.items()})


if __name__ == "__main__":
    command()
