"""A JSON POST to any HTTP endpoint: Alertmanager's own webhook format, with what the bridge knows beside it.

With `hmac_secret` each post is signed as Stripe signs its own (https://docs.stripe.com/webhooks#verify-manually):
`X-CloudPulse-Signature: t=<Unix seconds>,v1=<hex>`, the HMAC-SHA256 of the seconds, a dot and the body. A receiver
that refuses old seconds can't be sent a recorded post again:

    import hashlib, hmac, time

    def genuine(body: bytes, header: str, secret: str, within_seconds: int = 300) -> bool:
        parts = dict(part.split("=", 1) for part in header.split(","))
        expected = hmac.new(secret.encode(), parts["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
        fresh = abs(time.time() - int(parts["t"])) <= within_seconds
        return hmac.compare_digest(expected, parts["v1"]) and fresh
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path

import msgspec

from alert_bridge.insight import Insight
from alert_bridge.notifier import Memory, Message, ReceiverSettings, Surroundings
from alert_bridge.posting import HttpClient, check_timeout, checked_url, usable
from alert_bridge.templating import Templates
from cloudpulse.config import Authorization, BasicAuth, ClientTls, Secret, exactly_one, secret_text
from cloudpulse.durations import Duration

SIGNATURE = "X-CloudPulse-Signature"


class WebhookReceiver(ReceiverSettings, frozen=True, tag_field="type", tag="webhook"):
    """`type: webhook`. The URL and the headers' values count as secrets: many services put a token there.

    `hmac_secret` signs each post; `picture` puts the PNG into it, as base64.
    """

    url: Secret | None = None
    url_file: Path | None = None
    basic_auth: BasicAuth | None = None
    authorization: Authorization | None = None
    hmac_secret: Secret | None = None
    hmac_secret_file: Path | None = None
    tls_config: ClientTls = ClientTls()
    headers: dict[str, Secret] = msgspec.field(default_factory=dict)
    timeout: Duration = Duration(10)
    picture: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        exactly_one(url=self.url, url_file=self.url_file)
        if self.url is not None and not usable(self.url.reveal()):
            raise ValueError("url: expected a URL such as https://host/path, without a user")
        if self.basic_auth and self.authorization:
            raise ValueError("basic_auth and authorization can't both be set: keep one")
        if self.hmac_secret is not None and self.hmac_secret_file is not None:
            raise ValueError("hmac_secret and hmac_secret_file can't both be set: keep one")
        if self.templates != Templates():
            raise ValueError("templates: a webhook is sent JSON, which has no wording")
        check_timeout(self.timeout)


class WebhookNotifier:
    """Posts to one URL. A repeated delivery has the same `Idempotency-Key` header, and the same body but `insight`."""

    def __init__(self, settings: WebhookReceiver, surroundings: Surroundings) -> None:
        self._clock = surroundings.clock
        self._picture = settings.picture
        self._secret: bytes | None = None
        if settings.hmac_secret is not None or settings.hmac_secret_file is not None:
            self._secret = secret_text(settings.hmac_secret, settings.hmac_secret_file).encode()
        self._client = HttpClient(
            checked_url(settings.name, settings.url, settings.url_file),
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
        posted = body(message, picture=self._picture)
        headers = {"Content-Type": "application/json", "Idempotency-Key": message.notification.idempotency_key}
        if self._secret is not None:
            headers[SIGNATURE] = signature(self._secret, posted, int(self._clock()))
        self._client.call("POST", body=posted, headers=headers)
        return {}


def body(message: Message, *, picture: bool) -> bytes:
    """The JSON that is posted: the group as Alertmanager sends it, `notification` and `insight`."""
    notification = message.notification
    ours: dict[str, object] = {
        "id": notification.id,
        "receiver": notification.receiver,
        "incident": notification.group.incident,
        "idempotencyKey": notification.idempotency_key,
    }
    if notification.ack is not None:
        ours["ack"] = notification.ack
    if notification.summary is not None:
        summary = notification.summary
        ours["summary"] = {"notifications": summary.notifications, "incidents": summary.incidents, "acks": summary.acks}
    if notification.instead_of:
        ours["insteadOf"] = notification.instead_of
    if message.ack_url:
        ours["ackUrl"] = message.ack_url
    told = {"notification": ours, "insight": _insight(message.insight, picture=picture)}
    return msgspec.json.encode(msgspec.to_builtins(notification.group, builtin_types=()) | told)


def signature(secret: bytes, posted: bytes, seconds: int) -> str:
    """The header's value for a body posted at these Unix seconds."""
    digest = hmac.new(secret, f"{seconds}.".encode() + posted, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={digest}"


def _insight(insight: Insight, *, picture: bool) -> dict[str, object]:
    known: dict[str, object] = {"outlooks": insight.outlooks, "company": insight.company, "values": insight.values}
    if picture and insight.picture is not None:
        known["picturePng"] = base64.b64encode(insight.picture).decode()
    return known
