"""`cloudpulse scaler`: wires settings, Prometheus, the cluster, the service and its HTTPS server together."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from prometheus_client import CollectorRegistry, ProcessCollector

from cloudpulse import config, logs, options, webconfig
from cloudpulse.build import BuildInfo
from cloudpulse.config import PrometheusSettings
from cloudpulse.errors import ConfigError, DependencyMissing
from cloudpulse.promql import Prometheus
from cloudpulse.reloading import Reload
from cloudpulse.serving import Face, Link, Server, WsgiApp
from scaler.certificate import Expiry, self_signed
from scaler.config import ScalerSettings, TlsFiles
from scaler.meters import Meters
from scaler.service import Service

if TYPE_CHECKING:
    from scaler.cluster.connection import Cluster

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
    """Answer the Kubernetes HPA's custom and external metrics from PromQL, over HTTPS."""
    logs.configure(log_level, log_format)
    file = config.read(config_path)
    settings = file.section("scaler", ScalerSettings)
    source = Prometheus(file.section("prometheus", PrometheusSettings))
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    web = options.WebOptions(listen, web_config, lifecycle)
    tls = _tls(web, settings)
    cluster = _cluster(settings)
    service = Service(settings, source, Meters(registry, time.time), time.time, cluster, Expiry(tls.cert_file))

    def apply() -> None:
        anew = config.read(config_path).section("scaler", ScalerSettings)
        if _fixed(anew) != _fixed(settings):
            raise ConfigError(
                "scaler.data_dir, scaler.tls and scaler.auth's mode, kubeconfig and client_ca_file need a restart to "
                "change"
            )
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
    server = _server(face, web, settings, tls, cluster.trust.pem if cluster else lambda: None)
    try:
        service.start()
        options.run(server, "scaler", reload)
    finally:
        service.close()
        source.close()


def _fixed(settings: ScalerSettings) -> tuple[object, ...]:
    auth = settings.auth
    return settings.data_dir, settings.tls, auth.mode, auth.kubeconfig, auth.client_ca_file


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


def _tls(web: options.WebOptions, settings: ScalerSettings) -> TlsFiles:
    """The server certificate; raises ConfigError where TLS is missing or set twice."""
    if web.web_config is None:
        return settings.tls or self_signed(settings.data_dir)
    tls = webconfig.read(web.web_config).tls_server_config
    if tls is None:
        raise ConfigError(f"{web.web_config}: the scaler speaks HTTPS only: add tls_server_config")
    if settings.auth.mode == "delegated":
        raise ConfigError(
            f"{web.web_config}: with scaler.auth mode delegated the cluster says which client certificates to take: "
            "use scaler.tls instead"
        )
    if settings.tls or settings.auth.client_ca_file:
        raise ConfigError(
            "TLS is set twice: keep either --web.config.file or scaler.tls and scaler.auth.client_ca_file"
        )
    return TlsFiles(cert_file=tls.cert_file, key_file=tls.key_file)


def _server(
    app: WsgiApp, web: options.WebOptions, settings: ScalerSettings, files: TlsFiles, cas: Callable[[], str | None]
) -> Server:
    if web.web_config is not None:
        return options.serve(app, web, THREADS)
    tls = webconfig.TlsServer(
        cert_file=files.cert_file,
        key_file=files.key_file,
        client_ca_file=settings.auth.client_ca_file,
        client_auth_type="VerifyClientCertIfGiven" if settings.auth.client_ca_file else "NoClientCert",
    )
    context = webconfig.ReloadingContext(
        tls, lambda error: log.error("certificate not reloaded", error=str(error)), cas
    )
    return Server(app, web.listen, tls=context, threads=THREADS)


if __name__ == "__main__":
    command()
