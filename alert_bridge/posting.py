"""The one way out over HTTP, for notifiers and for every other service that the bridge calls.

Where it goes comes from the config only, never from an alert; the one exception is the place that Slack names for an
upload, which its notifier holds against Slack's own hosts. Redirects are never followed. An address is looked at when
a connection to it is about to be made, after DNS, so that a name that resolves differently the next time gains
nothing: link-local, cloud metadata, unspecified and multicast addresses are refused unless `allow_link_local` says so
(OWASP's Server-Side Request Forgery Prevention cheat sheet). Loopback and private networks are where services within
a cluster live, and allowed. Proxy variables, CA variables and ~/.netrc are not looked at.
"""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import ipaddress
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec
import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, ReadTimeoutError

from alert_bridge.notifier import REFUSED, DeliveryFailed
from cloudpulse import __version__
from cloudpulse.clock import Clock
from cloudpulse.config import Authorization, BasicAuth, ClientTls, Secret, secret_text
from cloudpulse.durations import format_duration
from cloudpulse.errors import ConfigError

T = TypeVar("T")
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
_READ_BYTES = 16384


@dataclass(frozen=True)
class Answer:
    """A 2xx: `body` holds what was asked for of it, empty unless asked."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)


class HttpClient:
    """Calls one service. For several threads; each call makes a connection of its own.

    `url` is where calls go unless they say a path under it; it counts as a secret, as `headers` do. `timeout` is for
    the whole call, in seconds, from the connection to the last byte that is read; only the lookup of a name has the
    resolver's own limits. Raises ConfigError when a secret's file can't be read, ValueError for what is
    no URL.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 10,
        tls: ClientTls = ClientTls(),  # noqa: B008  frozen
        basic_auth: BasicAuth | None = None,
        authorization: Authorization | None = None,
        headers: Mapping[str, Secret] | None = None,
        allow_link_local: bool = False,
        clock: Clock = time.time,
    ) -> None:
        if not usable(url):
            raise ValueError("expected a URL such as https://host/path, without a user")
        self.place = place(url)
        self._url = url
        self._timeout = timeout
        self._allow_link_local = allow_link_local
        self._clock = clock
        self._auth = _Auth(basic_auth, authorization)
        self._verify: bool | str = str(tls.ca_file) if tls.ca_file else not tls.insecure_skip_verify
        self._cert = (str(tls.cert_file), str(tls.key_file)) if tls.cert_file and tls.key_file else None
        self._headers = {
            **{name: value.reveal() for name, value in (headers or {}).items()},
            "User-Agent": f"CloudPulse/{__version__}",
            "Accept-Encoding": "identity",
            "Connection": "close",
        }

    def call(
        self,
        method: str,
        path: str = "",
        *,
        query: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        json: object = None,
        body: bytes | None = None,
        form: Mapping[str, str] | None = None,
        files: Mapping[str, tuple[str, bytes, str]] | None = None,
        headers: Mapping[str, str] | None = None,
        keep: int = 0,
    ) -> Answer:
        """Send one request and return its 2xx answer with at most `keep` bytes of its body, more being a failure.

        At most one of `json` (any value that msgspec encodes), `body` (bytes as they are), `form` and `files` (a
        multipart upload: field to file name, content and type). Raises DeliveryFailed for everything else: not
        reached, refused here, too late, another status, a body that is too long.
        """
        sent = dict(self._headers)
        if json is not None:
            body, sent["Content-Type"] = msgspec.json.encode(json), "application/json"
        sent |= headers or {}
        url = (self._url.rstrip("/") + "/" + path.lstrip("/")) if path else self._url
        if query:
            url += ("&" if "?" in url else "?") + urlencode(query)
        call = Call(self.place, self._allow_link_local, time.monotonic() + self._timeout)
        try:
            with call.watched(), watched_session() as session:
                request = session.request(
                    method,
                    url,
                    data=body if form is None else dict(form),
                    files=files,
                    headers=sent,
                    auth=self._auth,
                    timeout=self._timeout,
                    verify=self._verify,
                    cert=self._cert,
                    allow_redirects=False,
                    stream=True,
                )
                with request as response:
                    if call.late:  # headers that are cut short pass for complete ones
                        raise requests.Timeout
                    check_status(self.place, response.status_code, response.headers.get("Retry-After"), self._clock)
                    return Answer(response.status_code, response.headers, self._body(response, keep))
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            raise DeliveryFailed(f"{self.place} {reason(error, late=call.late)}", retryable=True) from None

    def ask(self, kind: type[T], method: str, path: str = "", *, keep: int = 1 << 20, **how: Any) -> T:
        """`call`, and the JSON that is answered as `kind`; raises DeliveryFailed when it is something else."""
        answer = self.call(method, path, keep=keep, **how)
        try:
            return msgspec.json.decode(answer.body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError):
            text = f"{self.place} answered {answer.status} with something else than the JSON that it documents"
            raise DeliveryFailed(text, retryable=True) from None

    def _body(self, response: requests.Response, keep: int) -> bytes:
        if not keep:
            return b""
        body = bytearray()
        for chunk in response.raw.stream(_READ_BYTES):
            body += chunk
            if len(body) > keep:
                raise DeliveryFailed(f"{self.place} answered with more than {keep} bytes", retryable=True)
        return bytes(body)


def reason(error: Exception, *, late: bool) -> str:
    """In words of ours: the error's own hold the whole URL."""
    if late or isinstance(error, requests.Timeout | ReadTimeoutError):
        return "timed out"
    if isinstance(error, requests.exceptions.SSLError):
        return "has no TLS that tls_config would trust"
    return f"not reached: {type(error).__name__}"


def usable(url: str) -> bool:
    """Whether it is an http or https URL with a host, and without a user, who would not be told to the server."""
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and parts.username is None and (parts.port is None or parts.port > 0)
        return parts.scheme in ("http", "https") and named
    except ValueError:
        return False


def checked_url(receiver: str, url: Secret | None, file: Path | None) -> str:
    """The URL, or what its file holds; raises ConfigError, without showing it, when that is none."""
    text = secret_text(url, file)
    if not usable(text):
        raise ConfigError(f"receiver {receiver}: {file} holds no URL such as https://host/path, without a user")
    return text


def check_timeout(seconds: float, *, most: float = 300) -> None:
    """For settings: raise ValueError unless it is more than 0 and at most `most` seconds.

    All calls that one notification takes together must end before the outbox would give it to somebody else.
    """
    if not 0 < seconds <= most:
        raise ValueError(f"timeout: expected more than 0s, at most {format_duration(most)}, got {seconds}")


def place(url: str) -> str:
    """Where it goes, to be shown: without user, path and query, which may be secret."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


def check_status(place: str, status: int, retry_after: str | None, clock: Clock) -> None:
    """Raise DeliveryFailed unless `status` is 2xx; `retry_after` is the header as it came."""
    if 200 <= status < 300:
        return
    hint = " (redirects are not followed)" if 300 <= status < 400 else ""
    raise DeliveryFailed(
        f"{place} answered {status}{hint}",
        retryable=status not in REFUSED,
        retry_after_seconds=retry_seconds(retry_after, clock),
        status=status,
    )


def retry_seconds(header: str | None, clock: Clock) -> float | None:
    """Seconds until `Retry-After` (RFC 9110, 10.2.3: seconds or an HTTP date); None for anything else."""
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        moment = email.utils.parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - clock())


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


class _Auth(requests.auth.AuthBase):
    """The configured credentials or none; without it requests would look into ~/.netrc."""

    def __init__(self, basic: BasicAuth | None, given: Authorization | None) -> None:
        self._basic: requests.auth.HTTPBasicAuth | None = None
        self._header: str | None = None
        if basic is not None:
            password = secret_text(basic.password, basic.password_file)
            self._basic = requests.auth.HTTPBasicAuth(basic.username.encode(), password.encode())
        if given is not None:
            self._header = f"{given.type} {secret_text(given.credentials, given.credentials_file)}"

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._basic is not None:
            self._basic(request)
        if self._header is not None:
            request.headers["Authorization"] = self._header
        return request


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


def watched_session() -> requests.Session:
    """A session whose connections are made, and watched, by the `Call` under way in this thread."""
    session = requests.Session()
    session.trust_env = False
    adapter = HTTPAdapter()
    adapter.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session
