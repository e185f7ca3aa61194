"""A JSON POST to any HTTP endpoint: Alertmanager's own webhook format and a `notification` object beside it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from alert_bridge.notifier import Memory, Message, Notification, ReceiverSettings, Surroundings
from alert_bridge.posting import HttpClient, usable
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
        if self.url is not None and not usable(self.url.reveal()):
            raise ValueError("url: expected a URL such as https://host/path")
        if self.basic_auth and self.authorization:
            raise ValueError("basic_auth and authorization can't both be set: keep one")
        if not 0 < self.timeout <= 300:
            raise ValueError(f"timeout: expected more than 0s, at most 5m, got {self.timeout}")


class WebhookNotifier:
    """Posts to one URL. A repeated delivery has the same `Idempotency-Key` header and the same body."""

    def __init__(self, settings: WebhookReceiver, surroundings: Surroundings) -> None:
        url = secret_text(settings.url, settings.url_file)
        if not usable(url):
            raise ConfigError(f"receiver {settings.name}: {settings.url_file} holds no URL such as https://host/path")
        self._client = HttpClient(
            url,
            timeout=settings.timeout,
            tls=settings.tls_config,
            basic_auth=settings.basic_auth,
            authorization=settings.authorization,
            headers=settings.headers,
            allow_link_local=surroundings.allow_link_local,
            clock=surroundings.clock,
        )

    def send(self, message: Message) -> Memory:
        """2xx is taken; the answer's body is not read."""
        notification = message.notification
        headers = {"Content-Type": "application/json", "Idempotency-Key": notification.idempotency_key}
        self._client.call("POST", body=body(notification), headers=headers)
        return {}


def body(notification: Notification) -> bytes:
    """The JSON that is posted; the same for every attempt."""
    ours = {
        "id": notification.id,
        "receiver": notification.receiver,
        "incident": notification.group.incident,
        "idempotencyKey": notification.idempotency_key,
    }
    return msgspec.json.encode(msgspec.to_builtins(notification.group, builtin_types=()) | {"notification": ours})
