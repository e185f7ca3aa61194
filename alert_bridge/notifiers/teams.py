"""Microsoft Teams: an Adaptive Card through the webhook of a workflow that posts what it is sent to a channel.

Sources: https://learn.microsoft.com/connectors/teams (28 KB for a message),
https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/add-incoming-webhook,
https://learn.microsoft.com/microsoftteams/platform/task-modules-and-cards/cards/cards-format (the Markdown that cards
know) and https://adaptivecards.io/explorer/. A workflow takes the request before it posts the card, keeps no message
that could be updated and drops no double: after a lost answer the same card may appear twice. The `id` of its first
element is the idempotency key, for a workflow of yours that wants to look.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path

import msgspec

from alert_bridge.notifier import DeliveryFailed, Memory, Message, ReceiverSettings, Surroundings
from alert_bridge.posting import HttpClient, check_timeout, checked_url, usable
from alert_bridge.wording import Wording, kind, links, severity
from cloudpulse.config import ClientTls, Secret, exactly_one
from cloudpulse.durations import Duration

MOST_BYTES = 28_000
"""Of the whole request; Microsoft says 28 KB."""

MOST_TEXT = 4000
COLOURS = 16
"""Of a picture that would be too large otherwise."""

_STYLES = {"resolved": "Good", "ack": "Accent", "warning": "Warning", "info": "Accent"}
_ALARM = "Attention"


class TeamsReceiver(ReceiverSettings, frozen=True, tag_field="type", tag="teams"):
    """`type: teams`: the URL of a workflow; it counts as a secret, since it holds a signature."""

    url: Secret | None = None
    url_file: Path | None = None
    tls_config: ClientTls = ClientTls()
    timeout: Duration = Duration(10)

    def __post_init__(self) -> None:
        super().__post_init__()
        exactly_one(url=self.url, url_file=self.url_file)
        if self.url is not None and not usable(self.url.reveal()):
            raise ValueError("url: expected a URL such as https://host/path, without a user")
        check_timeout(self.timeout)


class TeamsNotifier:
    """Posts a card of its own for each notification."""

    def __init__(self, settings: TeamsReceiver, surroundings: Surroundings) -> None:
        self._client = HttpClient(
            checked_url(settings.name, settings.url, settings.url_file),
            timeout=settings.timeout,
            tls=settings.tls_config,
            allow_link_local=surroundings.allow_link_local,
            clock=surroundings.clock,
        )
        self._wording = Wording(
            "markdown",
            settings.templates,
            title_limit=300,
            text_limit=MOST_TEXT,
            with_links=False,
            failed=surroundings.template_failed,
        )

    def send(self, message: Message) -> Memory:
        """The picture is part of the card where the whole stays small enough, a smaller one if need be."""
        if (body := self._with_picture(message)) is not None:
            try:
                self._post(body)
            except DeliveryFailed as error:
                if error.retryable:
                    raise
            else:
                return {}
        self._post(self._body(message, None))
        return {}

    def _with_picture(self, message: Message) -> bytes | None:
        if (picture := message.insight.picture) is None:
            return None
        body = self._body(message, picture)
        if len(body) > MOST_BYTES:
            body = self._body(message, _halved(picture))
        return body if len(body) <= MOST_BYTES else None

    def _post(self, body: bytes) -> None:
        self._client.call("POST", body=body, headers={"Content-Type": "application/json"})

    def _body(self, message: Message, picture: bytes | None) -> bytes:
        told = kind(message)
        style = _STYLES.get(told if told in ("resolved", "ack") else severity(message), _ALARM)
        title = {"type": "TextBlock", "id": f"cloudpulse-{message.notification.idempotency_key}", "wrap": True}
        title |= {"text": self._wording.title(message), "size": "Large", "weight": "Bolder", "color": style}
        text = {"type": "TextBlock", "text": self._wording.text(message), "wrap": True}
        content: list[dict[str, object]] = [title, text]
        if picture is not None:
            url = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
            content.append({"type": "Image", "url": url, "altText": "History and forecast", "size": "Stretch"})
        card: dict[str, object] = {
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.4",
            "msteams": {"width": "Full"},
            "body": content,
        }
        if actions := _actions(message):
            card["actions"] = actions
        attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
        return msgspec.json.encode({"type": "message", "attachments": [attachment]})


def _halved(picture: bytes) -> bytes:
    """At half its width, with few colours: about a third of its bytes."""
    from PIL import Image

    image = Image.open(io.BytesIO(picture)).convert("RGB").reduce(2)
    file = io.BytesIO()
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()


def _actions(message: Message) -> list[dict[str, object]]:
    found = links(message)
    places = (
        ("Undo", found.undo),
        ("Take it", found.ack),
        ("Runbook", found.runbook),
        ("Prometheus", found.prometheus),
        ("Alertmanager", found.alertmanager),
    )
    return [{"type": "Action.OpenUrl", "title": title, "url": url} for title, url in places if url]
