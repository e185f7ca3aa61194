"""A JSON POST to any HTTP endpoint: Alertmanager's own webhook format and a `notification` object beside it."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import requests

from alert_bridge.notifier import DeliveryFailed, Memory, Message, Notification, ReceiverSettings, check_status
from cloudpulse import __version__
from cloudpulse.clock import Clock
from cloudpulse.config import Authorization, BasicAuth, ClientTls, Secret, exactly_one, secret_text
from cloudpulse.durations import Duration
from cloudpulse.errors import ConfigError


class WebhookReceiver(ReceiverSettings, frozen=True, tag_field="type", tag="webhook"):
    """`type: webhook`. The URL and the headers' values count as secrets: many services put a token there."""

    url: Secret | None = None
    url_file: Path | None = None
    basic_auth: BasicAuth | None = None
    authorization: Authorization | None = None
    tls_config: ClientTls = ClientTls()
    headers: dict[str, Secret] = msgspec.field(default_factory=dict)
    timeout: Duration = Duration(10)

    def __post_init__(self) -> None:
        super().__post_init__()
        exactly_one(url=self.url, url_file=self.url_file)
        if self.url is not None and not _usable(self.url.reveal()):
            raise ValueError("url: expected a URL such as https://host/path")
        if self.basic_auth and self.authorization:
            raise ValueError("basic_auth and authorization can't both be set: keep one")
        if not 0 < self.timeout <= 300:
            raise ValueError(f"timeout: expected more than 0s, at most 5m, got {self.timeout}")


class WebhookNotifier:
    """Posts to one URL. A repeated delivery has the same `Idempotency-Key` header and the same body."""

    def __init__(self, settings: WebhookReceiver, clock: Clock = time.time) -> None:
        self._url = secret_text(settings.url, settings.url_file)
        if not _usable(self._url):
            raise ConfigError(f"receiver {settings.name}: {settings.url_file} holds no URL such as https://host/path")
        self._place = _place(self._url)
        self._timeout = float(settings.timeout)
        self._clock = clock
        self._session = requests.Session()
        self._session.auth = _Auth(settings)
        tls = settings.tls_config
        self._verify: bool | str = str(tls.ca_file) if tls.ca_file else not tls.insecure_skip_verify
        if tls.cert_file and tls.key_file:
            self._session.cert = (str(tls.cert_file), str(tls.key_file))
        self._headers = {
            **{name: value.reveal() for name, value in settings.headers.items()},
            "Content-Type": "application/json",
            "User-Agent": f"CloudPulse/{__version__}",
        }

    def send(self, message: Message) -> Memory:
        """2xx is taken; redirects are not followed, and the answer's body is not read."""
        notification = message.notification
        try:
            with self._session.post(
                self._url,
                data=body(notification),
                headers={**self._headers, "Idempotency-Key": notification.idempotency_key},
                timeout=self._timeout,
                verify=self._verify,
                allow_redirects=False,
                stream=True,
            ) as response:
                check_status(self._place, response.status_code, response.headers.get("Retry-After"), self._clock)
        except requests.RequestException as error:
            # The error's own text holds the whole URL.
            reason = "timed out" if isinstance(error, requests.Timeout) else f"not reached: {type(error).__name__}"
            raise DeliveryFailed(f"{self._place} {reason}", retryable=True) from None
        return {}


def body(notification: Notification) -> bytes:
    """The JSON that is posted; the same for every attempt."""
    ours: dict[str, object] = {
        "id": notification.id,
        "receiver": notification.receiver,
        "incident": notification.group.incident,
        "idempotencyKey": notification.idempotency_key,
    }
    if notification.summary is not None:
        ours["summary"] = msgspec.to_builtins(notification.summary)
    if notification.instead_of:
        ours["insteadOf"] = notification.instead_of
    return msgspec.json.encode(msgspec.to_builtins(notification.group, builtin_types=()) | {"notification": ours})


class _Auth(requests.auth.AuthBase):
    """The configured credentials or none; without it requests would look into ~/.netrc."""

    def __init__(self, settings: WebhookReceiver) -> None:
        self._basic: requests.auth.HTTPBasicAuth | None = None
        self._header: str | None = None
        if basic := settings.basic_auth:
            password = secret_text(basic.password, basic.password_file)
            self._basic = requests.auth.HTTPBasicAuth(basic.username.encode(), password.encode())
        if given := settings.authorization:
            self._header = f"{given.type} {secret_text(given.credentials, given.credentials_file)}"

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._basic is not None:
            self._basic(request)
        if self._header is not None:
            request.headers["Authorization"] = self._header
        return request


def _usable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _place(url: str) -> str:
    """Where it goes, without user, path and query, which may be secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
