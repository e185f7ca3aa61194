"""PagerDuty incidents that open, are acknowledged and close by themselves: Events API v2.

Source: https://developer.pagerduty.com/docs/events-api-v2/trigger-events (and overview, for the limits).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from alert_bridge.notifier import Memory, Message, ReceiverSettings, Surroundings
from alert_bridge.posting import HttpClient, check_timeout, usable
from alert_bridge.webhook import Alert, AlertGroup
from alert_bridge.wording import Wording, links
from cloudpulse import logs
from cloudpulse.config import ClientTls, Secret, exactly_one, secret_text
from cloudpulse.durations import Duration

Severity = Literal["critical", "error", "warning", "info"]

REGIONS: Final = {
    "us": "https://events.pagerduty.com/v2/enqueue",
    "eu": "https://events.eu.pagerduty.com/v2/enqueue",
}
SEVERITIES: Final[Mapping[str, Severity]] = {
    "critical": "critical",
    "page": "critical",
    "error": "error",
    "high": "error",
    "major": "error",
    "warning": "warning",
    "minor": "warning",
    "info": "info",
    "none": "info",
}
WORST_FIRST: Final[tuple[Severity, ...]] = ("critical", "error", "warning", "info")
UNKNOWN: Final[Severity] = "error"  # as Alertmanager's own PagerDuty integration calls it

EVENT_BYTES = 512_000
"""PagerDuty refuses events above 512 KB."""

SUMMARY_CHARACTERS = 1024
MESSAGE_CHARACTERS = 20_000
TEXT_CHARACTERS = 2000
ALERTS = 50

log = logs.get(__name__)


class PagerDutyReceiver(ReceiverSettings, frozen=True, tag_field="type", tag="pagerduty"):
    """`type: pagerduty`. `routing_key` is the service's integration key for Events API v2.

    `url` is for another place than the `region`'s own. `severities` adds to the words of the label `severity` that
    are known (critical, page, error, high, major, warning, minor, info, none); all others are errors.
    `client_url` is where the incident's "view in" leads.
    """

    routing_key: Secret | None = None
    routing_key_file: Path | None = None
    region: Literal["us", "eu"] = "us"
    url: str | None = None
    severities: dict[str, Severity] = msgspec.field(default_factory=dict)
    client: str = "CloudPulse"
    client_url: str | None = None
    tls_config: ClientTls = ClientTls()
    timeout: Duration = Duration(10)

    def __post_init__(self) -> None:
        super().__post_init__()
        exactly_one(routing_key=self.routing_key, routing_key_file=self.routing_key_file)
        for name, url in (("url", self.url), ("client_url", self.client_url)):
            if url is not None and not usable(url):
                raise ValueError(f"{name}: expected a URL such as https://host/path")
        check_timeout(self.timeout)
        if self.rate_limit is not None:
            raise ValueError(
                "rate_limit: not for pagerduty, since one event for many incidents could close none of them"
            )


class PagerDutyNotifier:
    """One PagerDuty incident for each of ours. It remembers nothing: the `dedup_key` follows from the incident.

    The key comes again with the group's next episode; PagerDuty opens a new incident for one that was resolved, and
    ignores a resolve for one that isn't open.
    """

    def __init__(self, settings: PagerDutyReceiver, surroundings: Surroundings) -> None:
        self._settings = settings
        self._key = secret_text(settings.routing_key, settings.routing_key_file)
        self._severities = {**SEVERITIES, **{word.lower(): one for word, one in settings.severities.items()}}
        self._wording = Wording(
            "plain",
            settings.templates,
            title_limit=SUMMARY_CHARACTERS,
            text_limit=MESSAGE_CHARACTERS,
            with_links=False,
            failed=surroundings.template_failed,
        )
        self._clock = surroundings.clock
        self._client = HttpClient(
            settings.url or REGIONS[settings.region],
            timeout=settings.timeout,
            tls=settings.tls_config,
            allow_link_local=surroundings.allow_link_local,
            clock=surroundings.clock,
        )

    def send(self, message: Message) -> Memory:
        """202 means that PagerDuty has the event; nothing is sent where its incident wouldn't change."""
        if (action := self._action(message)) is None:
            log.debug("nothing to tell PagerDuty", receiver=self._settings.name)
            return {}
        event: dict[str, object] = {
            "routing_key": self._key,
            "event_action": action,
            "dedup_key": dedup_key(message),
        }
        body = self._trigger(event, message) if action == "trigger" else msgspec.json.encode(event)
        headers = {"Content-Type": "application/json", "Idempotency-Key": message.notification.idempotency_key}
        self._client.call("POST", body=body, headers=headers)
        return {}

    def _action(self, message: Message) -> Literal["trigger", "acknowledge", "resolve"] | None:
        ack, group = message.notification.ack, message.notification.group
        if ack is not None:
            return "acknowledge" if ack.whole and ack.until > self._clock() else None
        if group.over:
            return "resolve"
        # None that is told of fires, but some that aren't may: neither a reason to page nor to close.
        return "trigger" if any(alert.firing for alert in group.alerts) else None

    def _trigger(self, event: Mapping[str, object], message: Message) -> bytes:
        """The event as JSON, with as many alerts as fit."""
        kept = ALERTS
        while True:
            body = msgspec.json.encode({**event, **self._said(message, kept)})
            if len(body) <= EVENT_BYTES or not kept:
                return body
            kept //= 2

    def _said(self, message: Message, kept: int) -> dict[str, object]:
        group, values = message.notification.group, message.insight.values
        firing = [alert for alert in group.alerts if alert.firing]
        resolved = [alert for alert in group.alerts if not alert.firing]
        details: dict[str, object] = {
            "message": self._wording.text(message),
            "firing": len(firing),
            "resolved": len(resolved),
            "alerts": [_alert(alert, values.get(alert.fingerprint)) for alert in (firing + resolved)[:kept]],
        }
        if left_out := len(group.alerts[kept:]) + group.truncated_alerts:
            details["alerts_left_out"] = left_out
        said: dict[str, object] = {
            "payload": {
                "summary": self._wording.title(message),
                "source": _source(group),
                "severity": self._severity(firing),
                "timestamp": min(alert.starts_at for alert in firing),
                "class": group.common_labels.get("alertname", "")[:TEXT_CHARACTERS],
                "custom_details": details,
            },
            "links": _links(message),
            "client": self._settings.client,
        }
        if self._settings.client_url:
            said["client_url"] = self._settings.client_url
        return said

    def _severity(self, firing: Iterable[Alert]) -> Severity:
        told = {self._severities.get(alert.labels.get("severity", "").lower(), UNKNOWN) for alert in firing}
        return min(told, key=WORST_FIRST.index)


def dedup_key(message: Message) -> str:
    """The incident's name at PagerDuty: its own for each of our receivers, which may share a routing key."""
    told = f"{message.notification.receiver}\n{message.notification.group.incident}"
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def _alert(alert: Alert, value: float | None) -> dict[str, Any]:
    told = {
        "status": "firing" if alert.firing else "resolved",
        "since": alert.starts_at,
        "labels": _bounded(alert.labels),
        "annotations": _bounded(alert.annotations),
    }
    return told if value is None or not math.isfinite(value) else told | {"value": value}


def _bounded(texts: Mapping[str, str]) -> dict[str, str]:
    return {name: text[:TEXT_CHARACTERS] for name, text in texts.items()}


def _source(group: AlertGroup) -> str:
    labels = group.common_labels
    name = labels.get("instance") or labels.get("host") or labels.get("job") or group.external_url or group.receiver
    return name[:TEXT_CHARACTERS] or "Alertmanager"


def _links(message: Message) -> list[dict[str, str]]:
    found = links(message)
    places = (
        ("Take it", found.ack),
        ("Runbook", found.runbook),
        ("Prometheus", found.prometheus),
        ("Alertmanager", found.alertmanager),
    )
    return [{"href": url, "text": text} for text, url in places if url and len(url) <= TEXT_CHARACTERS]
