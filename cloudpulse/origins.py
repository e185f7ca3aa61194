"""Which page a browser says a request comes from: the `Origin` header (RFC 6454)."""

from __future__ import annotations

from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}


def same(origin: str, host: str) -> bool:
    """Whether a page of `origin` came from the server that it calls `host`.

    A host without a port has that of the scheme which the browser sees: a proxy before us may be the one with TLS.
    """
    try:
        page, server = urlsplit(origin), urlsplit(f"//{host}")
        port = _PORTS.get(page.scheme)
        ours = (server.hostname, server.port or port)
        return page.hostname is not None and (page.hostname, page.port or port) == ours
    except ValueError:
        return False
