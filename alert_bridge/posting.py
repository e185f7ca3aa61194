"""The one way out over HTTP, for notifiers and for every other service that the bridge calls.

Where it goes comes from the config only, never from an alert; the one exception is the place that Slack names for an
upload, which its notifier holds against Slack's own hosts. Redirects are never followed, and addresses are looked at
before a connection is made (`connecting`). Proxy variables, CA variables and ~/.netrc are not looked at.
"""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec
import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from alert_bridge.connecting import Call, watched_session
from alert_bridge.notifier import REFUSED, DeliveryFailed
from cloudpulse import __version__, trace
from cloudpulse.clock import Clock
from cloudpulse.config import Authorization, BasicAuth, ClientTls, Secret, secret_text
from cloudpulse.durations import format_duration
from cloudpulse.errors import ConfigError

T = TypeVar("T")

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
        sent = {**self._headers, **trace.headers()}
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
