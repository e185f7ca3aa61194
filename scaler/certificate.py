"""A self-signed server certificate under `data_dir`, for a start without a PKI; kept, so that it can be trusted."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cloudpulse.errors import StoreError
from scaler.config import TlsFiles

VALID = timedelta(days=365)
RENEW_BEFORE = timedelta(days=30)


def self_signed(data_dir: Path) -> TlsFiles:
    """Certificate and key for localhost, 127.0.0.1 and this host's name; made when missing, broken or about to expire.

    `tls.crt` is its own CA: give it to clients. Raises StoreError.
    """
    files = TlsFiles(cert_file=data_dir / "tls.crt", key_file=data_dir / "tls.key")
    if not _usable(files):
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            _make(files)
        except OSError as error:
            raise StoreError(f"{data_dir}: can't write the server certificate: {error.strerror}") from error
    return files


class Expiry:
    """Says when the certificate that is served now, which `served` gives in PEM, has expired."""

    def __init__(self, served: Callable[[], bytes]) -> None:
        self._served = served
        self._seen = b""
        self._ends = datetime.max.replace(tzinfo=UTC)

    def problem(self) -> str:
        """What is wrong, for people; "" while clients can trust it."""
        if (found := self._served()) != self._seen:
            self._seen = found
            self._ends = _end(found)
        if datetime.now(UTC) < self._ends:
            return ""
        return f"the server certificate expired at {self._ends:%Y-%m-%d %H:%M} UTC: nobody can trust it, renew it"


def _end(pem: bytes) -> datetime:
    try:
        return x509.load_pem_x509_certificate(pem).not_valid_after_utc
    except ValueError:  # one that only OpenSSL can read
        return datetime.max.replace(tzinfo=UTC)


def _usable(files: TlsFiles) -> bool:
    try:
        return _pair(files).not_valid_after_utc - datetime.now(UTC) > RENEW_BEFORE
    except (OSError, ValueError, TypeError):
        return False


def _pair(files: TlsFiles) -> x509.Certificate:
    """The certificate; raises OSError, or ValueError or TypeError for what is none, or has another key."""
    certificate = x509.load_pem_x509_certificate(files.cert_file.read_bytes())
    key = serialization.load_pem_private_key(files.key_file.read_bytes(), None)
    if certificate.public_key() != key.public_key():
        raise ValueError("the key is not that of the certificate")
    return certificate


def _make(files: TlsFiles) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cloudpulse-scaler")])
    now = datetime.now(UTC)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    host = socket.gethostname()
    if host and host.isascii() and host != "localhost":
        names.append(x509.DNSName(host))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))  # clients' clocks may be a little behind
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=True,
                crl_sign=False,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(files.key_file, private, 0o600)
    _write(files.cert_file, certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Replace `path` at once, so that a reader never sees half of it."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
