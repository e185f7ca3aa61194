"""TLS as `tls_server_config` describes it: a server context with OpenSSL's words for Go's.

Importing this loads OpenSSL: only who serves TLS does.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import ssl
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

from cloudpulse.errors import ConfigError
from cloudpulse.remaking import Sources
from cloudpulse.webconfig import CIPHERS, CURVES, TlsServer

_VERSIONS = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}
_VERIFY = {"VerifyClientCertIfGiven": ssl.CERT_OPTIONAL, "RequireAndVerifyClientCert": ssl.CERT_REQUIRED}
_DEFAULT = [suite for name, suite in CIPHERS.items() if name.startswith("TLS_ECDHE")]
"""What Go offers up to TLS 1.2 when nothing is said."""


class Context(ssl.SSLContext):
    """A server context. `certificate` is its own, in PEM; `allowed_sans`, unless None, what a client must be one of."""

    certificate: bytes
    allowed_sans: frozenset[str] | None = None


class _Connection(ssl.SSLSocket):
    """Ends a handshake with a client whose certificate, verified, is not of an allowed name."""

    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        allowed = cast(Context, self.context).allowed_sans
        if allowed is not None and allowed.isdisjoint(_names(self.getpeercert() or {})):
            raise ssl.SSLCertVerificationError("the client certificate has none of client_allowed_sans")


Context.sslsocket_class = _Connection


def context(tls: TlsServer, client_ca: str | None = None, sources: Sources | None = None) -> Context:
    """A server context; raises ConfigError when a file can't be used. `sources` learns which files were read.

    With `client_ca`, a PEM text, clients may give a certificate, which one of its CAs must have signed; with "" none.
    """
    sources = sources or Sources()
    made = Context(ssl.PROTOCOL_TLS_SERVER)
    made.set_alpn_protocols(["http/1.1"])
    _set_protocol(made, tls)
    made.certificate = _read(sources, "cert_file", tls.cert_file) or (tls.cert or "").encode()
    key = _read(sources, "key_file", tls.key_file) or (tls.key.reveal() if tls.key else "").encode()
    _set_certificate(made, key, tls)
    if client_ca is not None:
        _verify(made, ssl.CERT_OPTIONAL, client_ca, "the client CA")
    elif tls.verifies:
        given = _read(sources, "client_ca_file", tls.client_ca_file)
        cas = given.decode("utf-8", "replace") if given is not None else tls.client_ca
        _verify(made, _VERIFY[tls.client_auth_type or ""], cas, str(tls.client_ca_file or "client_ca"))
        made.allowed_sans = tls.client_allowed_sans
    return made


def following(tls: TlsServer, client_ca: Callable[[], str | None] = lambda: None) -> Callable[[Sources], Context]:
    """What `remaking.Remade` makes a context with that follows the files of `tls` and what `client_ca` gives."""
    return lambda sources: context(tls, sources.watch(client_ca), sources)


def _set_protocol(made: Context, tls: TlsServer) -> None:
    suites = [CIPHERS[name] for name in tls.cipher_suites if name in CIPHERS]
    least = tls.min_version if suites or not tls.cipher_suites else "TLS13"
    with warnings.catch_warnings():  # who asks for TLS 1.0 has been warned by WebConfig.notes
        warnings.simplefilter("ignore", DeprecationWarning)
        made.minimum_version = _VERSIONS[least]
        made.maximum_version = _VERSIONS[tls.max_version]
    # OpenSSL counts TLS 1.0 and 1.1 as level 0, since their signatures are SHA-1.
    made.set_ciphers(":".join(suites or _DEFAULT) + (":@SECLEVEL=0" if least < "TLS12" else ""))
    if not tls.prefer_server_cipher_suites:
        made.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    if tls.curve_preferences:
        made.set_ecdh_curve(CURVES[tls.curve_preferences[0]])


def _set_certificate(made: Context, key: bytes, tls: TlsServer) -> None:
    place = f"certificate {tls.cert_file or '(cert)'}, key {tls.key_file or '(key)'}"
    try:
        with _as_file(made.certificate) as cert_file, _as_file(key) as key_file:
            made.load_cert_chain(cert_file, key_file, password=_no_password)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"TLS files can't be used ({place}): {_reason(error)}") from None


def _no_password() -> str:
    """Instead of OpenSSL's own question, which waits at the terminal for an answer."""
    raise ssl.SSLError("the key is encrypted: give it without a pass phrase")


def _verify(made: Context, mode: ssl.VerifyMode, cas: str | None, place: str) -> None:
    """`cas`: PEM; None: the system's, as in Go; "": no CA at all."""
    # A resumed session would bring its certificate along unverified.
    made.options |= ssl.OP_NO_TICKET
    made.num_tickets = 0
    # An intermediate CA alone is enough, as it is to Go, in which kube-apiserver and exporter-toolkit are written.
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    made.verify_mode = mode
    if cas is None:
        made.load_default_certs(ssl.Purpose.CLIENT_AUTH)
    elif cas:
        try:
            made.load_verify_locations(cadata=cas.encode("ascii", "ignore").decode())  # around PEM may be any comment
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError(f"{place}: no CA certificate in PEM that can be used: {_reason(error)}") from None


def _read(sources: Sources, key: str, file: Path | None) -> bytes | None:
    if file is None:
        return None
    try:
        return sources.file(file).read_bytes()
    except OSError as error:
        raise ConfigError(f"TLS files can't be used ({key} {file}): {error.strerror}") from error


@contextlib.contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A path of `content` while the block runs, since Python takes a key only from a file; in memory on Linux."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("pem"), "wb") as file:
            file.write(content)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.TemporaryDirectory() as folder:  # which only this user may enter
            path = Path(folder) / "pem"
            path.write_bytes(content)
            yield str(path)


def _reason(error: Exception) -> str:
    return str(error.args[-1]) if error.args else repr(error)


def _names(certificate: Any) -> Iterator[str]:
    """The subject alternative names as Go writes them."""
    for kind, name in certificate.get("subjectAltName", ()):
        if kind in ("DNS", "email", "URI"):
            yield name
        elif kind == "IP Address":
            with contextlib.suppress(ValueError):
                address = ipaddress.ip_address(name.strip())
                yield str(getattr(address, "ipv4_mapped", None) or address)
