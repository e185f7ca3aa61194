"""Which page of a browser a request comes from, and whether that page may do what it asks.

A page of any site can have the reader's browser ask here, from inside the reader's network and with the reader's
passwords and certificates. `foreign` finds out such a page by what browsers say. They say nothing once a site has
pointed its own name to this machine (DNS rebinding): its pages are then ours, to the browser. That is for `Loopback`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from cloudpulse.answer import GUARDS
from cloudpulse.traced import USER

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WsgiApp = Callable[[Environ, StartResponse], Iterable[bytes]]

_PORTS = {"http": 80, "https": 443}


def same(origin: str, host: str) -> bool:
    """Whether a page of `origin` (RFC 6454) came from the server that it calls `host`.

    A host without a port has that of the scheme which the browser sees: a proxy before us may be the one with TLS.
    """
    try:
        page, server = urlsplit(origin), urlsplit(f"//{host}")
        port = _PORTS.get(page.scheme)
        ours = (server.hostname, server.port or port)
        return page.hostname is not None and (page.hostname, page.port or port) == ours
    except ValueError:
        return False


def foreign(environ: Environ, *places: str) -> bool:
    """Whether a page of another site asks for a change; `places` are hosts of ours beside the one that was asked for.

    Over plain HTTP browsers say less than Sec-Fetch-Site, and with every POST the `Origin`. Programs say neither.
    """
    site, origin = environ.get("HTTP_SEC_FETCH_SITE"), environ.get("HTTP_ORIGIN")
    if site in ("cross-site", "same-site"):
        return True
    return origin is not None and not any(same(origin, place) for place in (environ.get("HTTP_HOST", ""), *places))


class Loopback:
    """WSGI middleware: who reached us over loopback must have called us by a name that is nobody else's.

    An address, `localhost`, and names without a dot are: no site can point them here. Who gave a password, or asks over
    TLS, may use any name: a site that has pointed its own here has neither the reader's password nor a certificate.
    """

    def __init__(self, app: WsgiApp) -> None:
        self._app = app

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        host = environ.get("HTTP_HOST", "")
        secure = environ.get("wsgi.url_scheme") == "https" or USER in environ
        if secure or not _is_loopback(environ.get("SERVER_NAME", "")) or _ours_alone(host):
            return self._app(environ, start_response)
        # It is no secret that something listens here, and a proxy's owner has to read this.
        body = (
            f"this server listens on {environ['SERVER_NAME']} only and doesn't answer to the name in `Host`, which a "
            "website could have pointed here. A proxy before it has to send `Host: localhost`; or give it users or TLS "
            "by --web.config.file.\n"
        ).encode()
        sent = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body))), *GUARDS]
        start_response("421 Misdirected Request", sent)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


@lru_cache(maxsize=16)
def _is_loopback(host: str) -> bool:
    """Whether `host`, an address, is reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@lru_cache(maxsize=64)
def _ours_alone(host: str) -> bool:
    """Whether no site can have pointed `host`, as in the header, to us; none at all is no browser's."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return False
    if "." not in name or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
