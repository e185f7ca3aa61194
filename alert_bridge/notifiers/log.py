"""One structured log line per notification: the receiver that is always there."""

from __future__ import annotations

from alert_bridge.notifier import Memory, Message, ReceiverSettings, Surroundings
from alert_bridge.templating import Templates
from alert_bridge.wording import kind, sentences
from cloudpulse import logs

log = logs.get(__name__)


class LogReceiver(ReceiverSettings, frozen=True, tag_field="type", tag="log"):
    """`type: log`. With `insight: true` the line has the outlook in it."""

    insight: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.templates != Templates():
            raise ValueError("templates: the log is written as fields, which have no wording")


class LogNotifier:
    """Writes to the service's own log."""

    def __init__(self, settings: LogReceiver, surroundings: Surroundings) -> None:
        self._name = settings.name

    def send(self, message: Message) -> Memory:
        """One line at level info; the alerts' texts stay values in it."""
        notification, insight = message.notification, message.insight
        group = notification.group
        more: dict[str, object] = {}
        if notification.ack is not None:
            more |= {"taken_by": [notification.ack.by], "taken_until": notification.ack.until}
        if notification.summary is not None:
            more |= {"held_back": notification.summary.notifications, "incidents": notification.summary.incidents}
        if insight.outlooks:
            more["outlook"] = {outlook.fingerprint: sentences(outlook) for outlook in insight.outlooks}
        if insight.values:
            more["values"] = dict(insight.values)
        if insight.company:
            more["company"] = [one.forecast for one in insight.company]
        log.info(
            "notification",
            receiver=self._name,
            kind=kind(message),
            status=group.status,
            # Values of a dict or a list are escaped by both log formats, whatever control characters an alert holds.
            labels=group.common_labels,
            annotations=group.common_annotations,
            firing=sum(alert.firing for alert in group.alerts),
            resolved=sum(not alert.firing for alert in group.alerts),
            truncated=group.truncated_alerts,
            idempotency_key=notification.idempotency_key,
            **more,
            **({"instead_of": notification.instead_of} if notification.instead_of else {}),
        )
        return {}
