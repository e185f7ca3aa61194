"""TLS for the server: imported only where it is asked for, since `ssl` costs memory and time."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cloudpulse.connection import CLIENT_CERTIFICATE


class Tls:
    """Makes connections secure; `context` gives the context for each. The handshake is left to the connection."""

    NOT_YET = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError)
    """What its sockets raise that would have to wait."""

    def __init__(self, context: Callable[[], ssl.SSLContext]) -> None:
        self._context = context

    def wrap(self, sock: Any) -> tuple[ssl.SSLSocket, Mapping[str, Any]]:
        """The socket as a server's, and what its requests have in their environ. Raises OSError."""
        sock.setblocking(False)
        wrapped = self._context().wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        return wrapped, _TlsEnviron(wrapped)


class _TlsEnviron(Mapping[str, Any]):
    """WSGI variables of a TLS connection, read when a request needs them: only then is the handshake done."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self._connection = connection

    def _values(self) -> dict[str, Any]:
        values: dict[str, Any] = {"wsgi.url_scheme": "https", "HTTPS": "on"}
        # With CERT_OPTIONAL or CERT_REQUIRED, getpeercert(True) is only ever a certificate that was verified;
        # the context never runs with verification off and a certificate asked for.
        if (certificate := self._connection.getpeercert(binary_form=True)) is not None:
            values[CLIENT_CERTIFICATE] = certificate
        return values

    def __getitem__(self, key: str) -> Any:
        return self._values()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values())

    def __len__(self) -> int:
        return 2
