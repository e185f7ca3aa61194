"""Who asks, outside a cluster: a verified client certificate or a bearer token from the config.

`X-Remote-User` and its kin are never believed here.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import re

from cryptography import x509
from cryptography.x509.oid import NameOID

from cloudpulse.config import secret_text
from cloudpulse.errors import ConfigError
from cloudpulse.serving import CLIENT_CERTIFICATE, Environ
from scaler import config
from scaler.refusal import unauthorized

ANONYMOUS = "anonymous"

_TOKEN = re.compile(r"[\x21-\x7e]+")


class StaticAuthentication:
    """Identifies callers by what the config names. Raises ConfigError when it names nothing."""

    def __init__(self, settings: config.Authentication) -> None:
        if not (settings.client_ca_file or settings.tokens or settings.anonymous):
            raise ConfigError(
                "scaler.auth: nothing says who may read: set client_ca_file or tokens, or anonymous: true for everyone"
            )
        self._certificates = settings.client_ca_file is not None
        self._anonymous = settings.anonymous
        self._tokens = [(token.name, _digest(_text(token))) for token in settings.tokens]

    def identify(self, environ: Environ) -> str:
        """The caller's name for the audit log; raises Refused (401) for one that is not known."""
        if self._certificates and (certificate := environ.get(CLIENT_CERTIFICATE)) is not None:
            return f"certificate:{_common_name(certificate)}"
        header = environ.get("HTTP_AUTHORIZATION")
        if header is None and self._anonymous:
            return ANONYMOUS
        if header is None:
            raise unauthorized("who asks is not known: a client certificate or a bearer token is needed")
        scheme, _, token = header.partition(" ")
        name = self._owner(token.strip()) if scheme.lower() == "bearer" else None
        if name is None:
            raise unauthorized("the credentials are not among those of scaler.auth")
        return f"token:{name}"

    def _owner(self, token: str) -> str | None:
        """Compares with every token, whichever fits, so that the time taken tells nothing."""
        digest = _digest(token)
        found = None
        for name, known in self._tokens:
            if hmac.compare_digest(digest, known):
                found = name
        return found


def _text(token: config.Token) -> str:
    text = secret_text(token.token, token.token_file)
    if not _TOKEN.fullmatch(text):
        raise ConfigError(f"scaler.auth.tokens: {token.name}: expected visible ASCII characters and no space")
    return text


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


@functools.lru_cache(maxsize=256)
def _common_name(certificate: bytes) -> str:
    names = x509.load_der_x509_certificate(certificate).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else "without a common name"
