"""Who may read, outside a cluster: whoever has a verified client certificate or a bearer token of the config.

`X-Remote-User` and its kin are never believed here.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import UTC, datetime

from cloudpulse import apikeys
from cloudpulse.certificates import holder
from cloudpulse.config import secret_text
from cloudpulse.errors import ConfigError
from cloudpulse.serving import CLIENT_CERTIFICATE, Environ
from scaler import config
from scaler.access import Action, User, bearer
from scaler.refusal import unauthorized

ANONYMOUS = "anonymous"

_TOKEN = re.compile(r"[\x21-\x7e]+")


class StaticAccess:
    """Knows callers by what the config names, and lets all of them read. Raises ConfigError when it names nothing.

    A client certificate is only ever one that TLS verified. `certificates`: the server asks for them by itself.
    """

    def __init__(self, settings: config.Authentication, certificates: bool) -> None:
        if not (settings.client_ca_file or settings.tokens or settings.anonymous or certificates):
            raise ConfigError(
                "scaler.auth: nothing says who may read: set mode: delegated in a cluster; elsewhere client_ca_file or "
                "tokens, a client_ca_file of --web.config.file, or anonymous: true for everyone"
            )
        self._anonymous = settings.anonymous
        self._tokens = [(token.name, _known(token)) for token in settings.tokens]

    def identify(self, environ: Environ) -> User:
        """The caller, named for the audit log; raises Denied (401) for one that is not known."""
        if (certificate := environ.get(CLIENT_CERTIFICATE)) is not None:
            found = holder(certificate)
            if datetime.now(UTC) > found.ends:
                raise unauthorized("the client certificate has expired", "wrong_credentials")
            return User(f"certificate:{found.name or 'without a common name'}")
        header = environ.get("HTTP_AUTHORIZATION")
        if header is None and self._anonymous:
            return User(ANONYMOUS)
        if header is None:
            raise unauthorized(
                "who asks is not known: a client certificate or a bearer token is needed", "no_credentials"
            )
        owner = self._owner(bearer(header))
        if owner is None:
            raise unauthorized("the credentials are not among those of scaler.auth", "wrong_credentials")
        return User(f"token:{owner}")

    def authorize(self, user: User, action: Action) -> None:
        """Whoever is known may read everything."""

    def _owner(self, token: str) -> str | None:
        """Compares with every token, whichever fits, so that the time taken tells nothing."""
        digest = _digest(token)
        found = None
        for name, known in self._tokens:
            if hmac.compare_digest(digest, known):
                found = name
        return found


def _known(token: config.Token) -> bytes:
    if token.token is None and token.token_file is None:
        return apikeys.digest(f"scaler.auth.tokens: {token.name}", token.sha256, token.sha256_file)
    text = secret_text(token.token, token.token_file)
    if not _TOKEN.fullmatch(text):
        raise ConfigError(f"scaler.auth.tokens: {token.name}: expected visible ASCII characters and no space")
    return _digest(text)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
