"""The scaler's HTTPS port: which certificate it shows, and whose client certificates it asks for."""

from __future__ import annotations

from collections.abc import Callable

from cloudpulse import logs, options, webconfig
from cloudpulse.errors import ConfigError
from cloudpulse.limits import Limits
from cloudpulse.serving import Server, WsgiApp
from scaler.certificate import self_signed
from scaler.config import ScalerSettings, TlsFiles

THREADS = 32
"""Each kept-alive connection that has a request under way holds one."""
LIMITS = Limits(head=2**20, headers=2000)
"""As kube-apiserver, which passes on the groups of its users, each in a header, and what they ask for."""

log = logs.get(__name__)


def files_of(web: options.WebOptions, settings: ScalerSettings) -> TlsFiles:
    """The server certificate, made where there is none; raises ConfigError where TLS is missing or set twice."""
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


def client_auth_type(web: options.WebOptions) -> str:
    """What `--web.config.file` asks of clients, as `webconfig.TlsServer` has it."""
    tls = webconfig.read(web.web_config).tls_server_config if web.web_config is not None else None
    return tls.client_auth_type if tls is not None else "NoClientCert"


def server(
    app: WsgiApp, web: options.WebOptions, settings: ScalerSettings, files: TlsFiles, cas: Callable[[], str | None]
) -> Server:
    """Bound and not yet serving; `cas` are CAs of client certificates as PEM, asked for again and again."""
    if web.web_config is not None:
        return options.serve(app, web, THREADS, LIMITS)
    tls = webconfig.TlsServer(
        cert_file=files.cert_file,
        key_file=files.key_file,
        client_ca_file=settings.auth.client_ca_file,
        client_auth_type="VerifyClientCertIfGiven" if settings.auth.client_ca_file else "NoClientCert",
    )
    context = webconfig.ReloadingContext(
        tls, lambda error: log.error("certificate not reloaded", error=str(error)), cas
    )
    return Server(app, web.listen, tls=context, threads=THREADS, limits=LIMITS)
