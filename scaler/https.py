"""The scaler's HTTPS port: which certificate it shows, and whose client certificates it asks for."""

from __future__ import annotations

from collections.abc import Callable

from cloudpulse import logs, options, webtls
from cloudpulse.errors import ConfigError
from cloudpulse.limits import Limits
from cloudpulse.remaking import Remade
from cloudpulse.serving import Server, WsgiApp
from cloudpulse.traced import Traced
from cloudpulse.webconfig import TlsServer
from scaler.certificate import self_signed
from scaler.config import ScalerSettings

THREADS = 32
"""Each kept-alive connection that has a request under way holds one."""
LIMITS = Limits(head=2**20, headers=2000)
"""As kube-apiserver, which passes on the groups of its users, each in a header, and what they ask for."""

log = logs.get(__name__)


def check(web: options.WebOptions, settings: ScalerSettings) -> None:
    """Raise ConfigError where TLS is missing or set twice."""
    if web.web_config is None:
        return
    if settings.auth.mode == "delegated":
        raise ConfigError(
            f"{web.web_config}: with scaler.auth mode delegated the cluster says which client certificates to take: "
            "use scaler.tls instead"
        )
    if settings.tls or settings.auth.client_ca_file:
        raise ConfigError(
            "TLS is set twice: keep either --web.config.file or scaler.tls and scaler.auth.client_ca_file"
        )
    if web.file is not None and web.file.context is None:
        raise ConfigError(f"{web.web_config}: the scaler speaks HTTPS only: add tls_server_config")


def contexts(
    web: options.WebOptions, settings: ScalerSettings, cas: Callable[[], str | None]
) -> Callable[[], webtls.Context]:
    """Gives the context for each new connection; the server certificate is made where there is none.

    `cas` are CAs of client certificates as PEM, asked for again and again.
    """
    if web.file is not None and web.file.context is not None:
        return web.file.context
    files, ca = settings.tls or self_signed(settings.data_dir), settings.auth.client_ca_file
    server = TlsServer(
        cert_file=files.cert_file,
        key_file=files.key_file,
        client_ca_file=ca,
        client_auth_type="VerifyClientCertIfGiven" if ca else "NoClientCert",
    )
    return Remade(webtls.following(server, cas), lambda error: log.error("certificate not reloaded", error=str(error)))


def client_auth_type(web: options.WebOptions) -> str:
    """What `--web.config.file` asks of clients, as `webconfig.TlsServer` has it."""
    asked = web.file.rules().config.tls_server_config if web.file is not None else None
    return asked.client_auth_type or "NoClientCert" if asked is not None and asked.verifies else "NoClientCert"


def server(app: WsgiApp, web: options.WebOptions, contexts: Callable[[], webtls.Context]) -> Server:
    """Bound and not yet serving."""
    if web.file is not None:
        return options.serve(app, web, threads=THREADS, limits=LIMITS)
    return Server(Traced(app, access_log=web.access_log), web.listen, tls=contexts, threads=THREADS, limits=LIMITS)
