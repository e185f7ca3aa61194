"""What a request says about its sender: bearer token, basic auth, API key. Read here, judged elsewhere.

Texts come back as the bytes that were sent, which WSGI shows as Latin-1: a comparison of bytes takes any of them.
"""

from __future__ import annotations

import base64
import binascii
import hmac

from cloudpulse.serving import Environ

KEY_PROTOCOL = "cloudpulse.key."
"""A browser can't set headers on a WebSocket: there the key comes as a subprotocol with this before it."""


def bearer(environ: Environ) -> bytes | None:
    """The token of `Authorization: Bearer` (RFC 6750)."""
    return _authorization(environ, "bearer")


def basic(environ: Environ) -> tuple[bytes, bytes] | None:
    """User and password of `Authorization: Basic` (RFC 7617)."""
    given = _authorization(environ, "basic")
    try:
        user, colon, password = base64.b64decode(given or b"", validate=True).partition(b":")
    except binascii.Error:
        return None
    return (user, password) if colon else None


def api_keys(environ: Environ) -> list[bytes]:
    """What may be an API key: `X-API-Key`, a bearer token, and a subprotocol where a WebSocket is asked for."""
    found = [environ["HTTP_X_API_KEY"].strip().encode("latin-1")] if "HTTP_X_API_KEY" in environ else []
    if (token := bearer(environ)) is not None:
        found.append(token)
    if environ.get("HTTP_UPGRADE", "").lower() == "websocket":
        protocols = (text.strip() for text in environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL", "").split(","))
        found += [p.removeprefix(KEY_PROTOCOL).encode("latin-1") for p in protocols if p.startswith(KEY_PROTOCOL)]
    return found


def equal(given: bytes, secret: str) -> bool:
    """Whether they are the same, in a time that tells nothing."""
    return hmac.compare_digest(given, secret.encode())


def _authorization(environ: Environ, wanted: str) -> bytes | None:
    scheme, _, given = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    return given.strip().encode("latin-1") if scheme.lower() == wanted else None
