"""The web config file in exporter-toolkit's format: TLS, client certificates, basic auth.

Source: https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md.
Paths in it are relative to the file. Keys of that format which this server doesn't have yet are refused like
unknown ones, so that nobody believes in a protection that isn't there.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import yaml

from cloudpulse.clock import Clock
from cloudpulse.config import ConfigFile, Section, yaml_reason
from cloudpulse.errors import ConfigError

_CLIENT_AUTH = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
RETRY_SECONDS = 5.0
"""Between two tries to use a change that could not be used: what was wrong may end without a trace in the files."""


class TlsServer(Section, frozen=True):
    """Certificate, key and what is asked of clients."""

    cert_file: Path
    key_file: Path
    client_ca_file: Path | None = None
    client_auth_type: str = "NoClientCert"
    min_version: str = "TLS12"
    max_version: str = "TLS13"

    def __post_init__(self) -> None:
        if self.client_auth_type not in _CLIENT_AUTH:
            raise ValueError(
                f'client_auth_type: expected one of {", ".join(_CLIENT_AUTH)}, got "{self.client_auth_type}"'
            )
        if self.client_ca_file and self.client_auth_type == "NoClientCert":
            raise ValueError("client_ca_file needs a client_auth_type that verifies")
        if not self.client_ca_file and self.client_auth_type != "NoClientCert":
            raise ValueError(f"client_auth_type {self.client_auth_type} needs client_ca_file")
        for key, version in (("min_version", self.min_version), ("max_version", self.max_version)):
            if version not in _VERSIONS:
                raise ValueError(f'{key}: expected one of {", ".join(_VERSIONS)}, got "{version}"')


class WebConfig(Section, frozen=True):
    """The whole file."""

    tls_server_config: TlsServer | None = None
    basic_auth_users: dict[str, str] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        for user, hashed in self.basic_auth_users.items():
            if not hashed.startswith(("$2a$", "$2b$", "$2y$")):
                raise ValueError(f"basic_auth_users.{user}: expected a bcrypt hash, made for example by htpasswd -nB")


def read(path: Path) -> WebConfig:
    """Read `path`; raises ConfigError that names the key."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: can't read the web config: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {yaml_reason(error)}") from None
    config = ConfigFile(path, {"web": tree}).section("web", WebConfig)
    if tls := config.tls_server_config:
        place = path.parent
        tls = msgspec.structs.replace(
            tls,
            cert_file=place / tls.cert_file,
            key_file=place / tls.key_file,
            client_ca_file=place / tls.client_ca_file if tls.client_ca_file else None,
        )
        config = msgspec.structs.replace(config, tls_server_config=tls)
    return config


def context(tls: TlsServer, client_ca: str | None = None) -> ssl.SSLContext:
    """A server context; raises ConfigError when a file can't be used.

    With `client_ca`, a PEM text, clients may give a certificate, which one of its CAs must have signed; with "" none.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = _VERSIONS[tls.min_version]
    made.maximum_version = _VERSIONS[tls.max_version]
    made.verify_mode = _CLIENT_AUTH[tls.client_auth_type] if client_ca is None else ssl.CERT_OPTIONAL
    made.set_alpn_protocols(["http/1.1"])
    if made.verify_mode is not ssl.CERT_NONE:
        # A resumed session would bring its certificate along unverified.
        made.options |= ssl.OP_NO_TICKET
        made.num_tickets = 0
        # An intermediate CA alone is enough, as it is to Go, in which kube-apiserver and exporter-toolkit are written.
        made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        made.load_cert_chain(tls.cert_file, tls.key_file)
        if tls.client_ca_file:
            made.load_verify_locations(tls.client_ca_file)
        if client_ca:
            made.load_verify_locations(cadata=client_ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"TLS files can't be used ({tls.cert_file}, {tls.key_file}): {error}") from error
    return made


class ReloadingContext:
    """Gives the current server context and rebuilds it when one of its files, or what `client_ca` gives, has changed.

    A change that can't be used keeps the old context, since a half-written certificate must not end the service; it is
    told once and tried again every `RETRY_SECONDS`. `ticks` must not jump.
    """

    def __init__(
        self,
        tls: TlsServer,
        on_error: Callable[[ConfigError], None],
        client_ca: Callable[[], str | None] = lambda: None,
        ticks: Clock = time.monotonic,
    ) -> None:
        self._tls = tls
        self._on_error = on_error
        self._client_ca = client_ca
        self._ticks = ticks
        self._lock = threading.Lock()
        self._used = self._failed = self._current()
        self._retry_at = 0.0
        self._context = context(tls, self._used[1])

    def __call__(self) -> ssl.SSLContext:
        with self._lock:
            current = self._current()
            if current == self._used or (current == self._failed and self._ticks() < self._retry_at):
                return self._context
            try:
                self._context = context(self._tls, current[1])
                self._used = current
            except ConfigError as error:
                if current != self._failed:
                    self._on_error(error)
                self._failed, self._retry_at = current, self._ticks() + RETRY_SECONDS
            return self._context

    def _current(self) -> tuple[tuple[tuple[int, int], ...], str | None]:
        files = (self._tls.cert_file, self._tls.key_file, self._tls.client_ca_file)
        return tuple(_stamp(file) for file in files if file is not None), self._client_ca()


def _stamp(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_ino)
