"""TLS for the server: imported only where it is asked for, since `ssl` costs memory and time."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cheroot.errors import FatalSSLAlert
from cheroot.makefile import StreamReader, StreamWriter
from cheroot.ssl import Adapter

from cloudpulse.reception import CLIENT_CERTIFICATE


class TlsAdapter(Adapter):
    """TLS whose handshake is left to `reception`.

    cheroot's own adapter waits for it in its one accepting thread, where a single slow client stops all others.
    """

    NOT_YET = (ssl.SSLWantReadError, ssl.SSLWantWriteError)
    """What its sockets raise where others raise BlockingIOError."""

    def __init__(self, context: Callable[[], ssl.SSLContext]) -> None:
        self._context = context

    def bind(self, sock: Any) -> Any:
        return sock

    def wrap(self, sock: Any) -> tuple[ssl.SSLSocket, Mapping[str, Any]]:
        try:
            wrapped = self._context().wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        except (ssl.SSLError, OSError) as error:
            raise FatalSSLAlert(*error.args) from error
        return wrapped, _TlsEnviron(wrapped)

    def get_environ(self) -> Mapping[str, Any]:
        return {}

    def makefile(self, sock: Any, mode: str = "r", bufsize: int = -1) -> Any:
        return (StreamReader if "r" in mode else StreamWriter)(sock, mode, bufsize)


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
