"""TLS for the server: imported only where it is asked for, since `ssl` costs memory and time."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from cloudpulse.environ import CLIENT_CERTIFICATE

_IN_THE_CLEAR = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: 34\r\n\r\n"
    b"this port speaks https, not http.\n"
)


class Tls:
    """Makes connections secure; `context` gives the context for each. The handshake is left to the connection."""

    NOT_YET = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError)
    """What its sockets raise that would have to wait."""

    def __init__(self, context: Callable[[], ssl.SSLContext]) -> None:
        self._context = context

    def wrap(self, sock: Any) -> Secured:
        """The socket as a server's. Raises OSError."""
        sock.setblocking(False)
        return Secured(self._context().wrap_socket(sock, server_side=True, do_handshake_on_connect=False))


class Secured:
    """One connection's TLS. `writes` says whether the handshake waits for room, not for the client's word."""

    def __init__(self, secured: ssl.SSLSocket) -> None:
        self.socket = secured
        self.writes = False

    def shake(self) -> None:
        """Go on with the handshake. Raises what is not yet possible, and OSError; who speaks HTTP is told."""
        self.writes = False
        try:
            self.socket.do_handshake()
        except ssl.SSLWantWriteError:
            self.writes = True
            raise
        except ssl.SSLError as error:
            if getattr(error, "reason", None) == "HTTP_REQUEST":
                socket.socket.recv(self.socket, 2**16)  # closing with something unread would undo the answer
                socket.socket.send(self.socket, _IN_THE_CLEAR)
            raise

    def environ(self) -> dict[str, Any]:
        """WSGI variables of a request, once the handshake is done."""
        values: dict[str, Any] = {"wsgi.url_scheme": "https", "HTTPS": "on"}
        # With CERT_OPTIONAL or CERT_REQUIRED, getpeercert(True) is only ever a certificate that was verified;
        # the context never runs with verification off and a certificate asked for.
        if (certificate := self.socket.getpeercert(binary_form=True)) is not None:
            values[CLIENT_CERTIFICATE] = certificate
        return values

    def end(self) -> None:
        """Send close_notify (RFC 8446, 6.1), without which what came last could have been cut off."""
        with suppress(OSError, ValueError):  # it raises for want of the client's own; ValueError: sent before
            self.socket.unwrap()
