"""Connections of the bridge's own making, for HTTP and SMTP: looked at before they are made, and cut off when late.

An address is looked at when a connection to it is about to be made, after DNS, so that a name that resolves differently
the next time gains nothing: link-local, cloud metadata, unspecified and multicast addresses are refused unless
`allow_link_local` says so (OWASP's Server-Side Request Forgery Prevention cheat sheet). Loopback and private networks
are where services within a cluster live, and allowed.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from alert_bridge.notifier import DeliveryFailed

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

METADATA: Final = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254",  # AWS, Azure, Google Cloud and most others; link-local as well
        "fd00:ec2::254",  # AWS
        "fd20:ce::254",  # Google Cloud
        "100.100.100.200",  # Alibaba Cloud
        "192.0.0.192",  # Oracle Cloud Classic
        "168.63.129.16",  # Azure's WireServer
    )
)
"""Where clouds give a machine its credentials, as their documentation says."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: an IPv4 address in the last 32 bits


class Call:
    """One call over whatever protocol: what may be connected to, and the moment at which it is cut off."""

    def __init__(self, place: str, allow_link_local: bool, deadline: float) -> None:
        self.place = place
        self.late = False
        self._allow_link_local = allow_link_local
        self._deadline = deadline
        self._socket: socket.socket | None = None

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Cut it off at the deadline, however slowly the other side drips; read timeouts start anew at each byte."""
        timer = threading.Timer(max(0.0, self._deadline - time.monotonic()), self._cut)
        timer.daemon = True
        timer.start()
        token = _CALL.set(self)
        try:
            yield
        finally:
            _CALL.reset(token)
            timer.cancel()

    def connect(self, host: str, port: int, timeout: float | None) -> socket.socket:
        """A socket to the first address of `host` that answers; raises DeliveryFailed, also for one that is refused."""
        try:
            return self._connect(host, port, timeout)
        except OSError as error:  # its text is the system's, such as Connection refused
            reason = "timed out" if isinstance(error, TimeoutError) else f"not reached: {error.strerror or error}"
            raise DeliveryFailed(f"{self.place} {reason}", retryable=True) from None

    def _connect(self, host: str, port: int, timeout: float | None) -> socket.socket:
        failure = OSError("the name has no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM):
            if not self._allow_link_local and (refused := refusal(str(address[0]))):
                text = f"{self.place} is {refused}: refused unless alert_bridge.allow_link_local is true"
                raise DeliveryFailed(text, retryable=True)
            left = self._deadline - time.monotonic()
            made = socket.socket(family, kind, protocol)
            try:
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                made.settimeout(max(0.001, left if timeout is None else min(left, timeout)))
                made.connect(address)
            except OSError as error:
                made.close()
                failure = error
            else:
                return made
        raise failure

    def follow(self, connected: socket.socket | None) -> None:
        """This is the socket to shut when it is late."""
        self._socket = connected

    def _cut(self) -> None:
        self.late = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                # Past TLS: SSLSocket's own would let the other thread read on without it.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def watched_session() -> requests.Session:
    """A session whose connections are made, and watched, by the `Call` under way in this thread."""
    session = requests.Session()
    session.trust_env = False
    adapter = HTTPAdapter()
    adapter.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def refusal(address: str) -> str:
    """What kind of address this is, if it is one that isn't connected to unless allowed; empty for all others."""
    found = _inner(ipaddress.ip_address(address))
    if found in METADATA:
        return "a cloud metadata address"
    kinds = {
        "a link-local address": found.is_link_local,
        "an unspecified address": found.is_unspecified,
        "a multicast address": found.is_multicast,
        "the broadcast address": found == ipaddress.IPv4Address("255.255.255.255"),
    }
    return next((kind for kind, is_one in kinds.items() if is_one), "")


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 one leads to by itself, or the address as it is, without its zone."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    bare = ipaddress.IPv6Address(int(address))
    if bare in _NAT64 or (int(bare) >> 32 == 0 and int(bare) > 1):  # the latter: ::a.b.c.d, long deprecated
        return ipaddress.IPv4Address(int(bare) & 0xFFFFFFFF)
    return bare.ipv4_mapped or bare.sixtofour or bare


_CALL: ContextVar[Call] = ContextVar("call")  # urllib3 has no way to hand something through to its connections


class _Lines:
    """A response's bytes, of which the head's lines must be whole: http.client takes what came of them for all."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._begun = False

    def readline(self, limit: int = -1) -> bytes:
        line: bytes = self._stream.readline(limit)
        if not line.endswith(b"\n") and (line or self._begun):
            raise http.client.RemoteDisconnected("the answer was cut short")
        self._begun = True
        return line

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Response(http.client.HTTPResponse):
    def __init__(self, *how: Any, **named: Any) -> None:
        super().__init__(*how, **named)
        self.fp: Any = _Lines(self.fp)


class _Http(HTTPConnection):
    response_class = _Response

    def _new_conn(self) -> socket.socket:  # what urllib3's own SOCKS connections override
        return _new_socket(self)

    def connect(self) -> None:
        super().connect()
        _CALL.get().follow(self.sock)


class _Https(HTTPSConnection):
    response_class = _Response

    def _new_conn(self) -> socket.socket:
        return _new_socket(self)

    def connect(self) -> None:
        super().connect()
        self.is_verified = True  # where it isn't, the config says so: urllib3 would warn on stderr all the same
        _CALL.get().follow(self.sock)


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https


def _new_socket(connection: HTTPConnection) -> socket.socket:
    timeout = connection.timeout
    return _CALL.get().connect(connection.host, connection.port, timeout if isinstance(timeout, int | float) else None)
