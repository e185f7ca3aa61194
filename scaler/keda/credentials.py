"""gRPC server credentials that follow their files: each new connection is served with what the files hold then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from cloudpulse.errors import ConfigError
from cloudpulse.remaking import Remade, Sources
from scaler.keda.config import KedaTls


def credentials(tls: KedaTls, on_error: Callable[[ConfigError], None]) -> grpc.ServerCredentials:
    """TLS with `tls`; with a client CA a certificate of it is demanded. Raises ConfigError.

    Files that can't be used later on, such as half-written ones, keep those before them and are told to `on_error`
    once.
    """
    files = _Files(Remade(lambda sources: _configuration(tls, sources), on_error))
    verify = tls.client_ca_file is not None
    changed = cast(
        Callable[[], grpc.ServerCertificateConfiguration], files.changed
    )  # the stubs forget that None may come
    return grpc.dynamic_ssl_server_credentials(files.current, changed, verify)


@dataclass(frozen=True)
class _Blobs:
    certificate: bytes
    key: bytes
    client_ca: bytes | None


class _Files:
    """`changed` is called by gRPC for each connection, in a thread of its own choice, one at a time."""

    def __init__(self, configuration: Remade[grpc.ServerCertificateConfiguration]) -> None:
        self._configuration = configuration
        self.current = configuration()

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """What to serve from now on; None: as before. Never raises."""
        before, self.current = self.current, self._configuration()
        return self.current if self.current is not before else None


def _configuration(tls: KedaTls, sources: Sources) -> grpc.ServerCertificateConfiguration:
    blobs = _read(tls, sources)
    _check(tls, blobs)
    return grpc.ssl_server_certificate_configuration([(blobs.key, blobs.certificate)], blobs.client_ca)


def _read(tls: KedaTls, sources: Sources) -> _Blobs:
    try:
        return _Blobs(
            sources.file(tls.cert_file).read_bytes(),
            sources.file(tls.key_file).read_bytes(),
            sources.file(tls.client_ca_file).read_bytes() if tls.client_ca_file else None,
        )
    except OSError as error:
        raise ConfigError(f"scaler.keda.tls: {error.filename}: can't be read: {error.strerror}") from error


def _check(tls: KedaTls, blobs: _Blobs) -> None:
    """gRPC itself would fail without a word at the first connection."""
    own = _certificates(blobs.certificate, "cert_file", tls.cert_file)[0]
    try:
        key = serialization.load_pem_private_key(blobs.key, None)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"scaler.keda.tls.key_file: {tls.key_file}: no private key in PEM: {error}") from None
    if own.public_key() != key.public_key():
        raise ConfigError(f"scaler.keda.tls: {tls.key_file} is not the key of {tls.cert_file}")
    if blobs.client_ca is not None:
        _certificates(blobs.client_ca, "client_ca_file", tls.client_ca_file)


def _certificates(pem: bytes, key: str, path: object) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise ConfigError(f"scaler.keda.tls.{key}: {path}: no certificate in PEM: {error}") from None
