"""One structured log line per notification: the receiver that is always there."""

from __future__ import annotations

from alert_bridge.notifier import Memory, Message, ReceiverSettings
from cloudpulse import logs

log = logs.get(__name__)


class LogReceiver(ReceiverSettings, frozen=True, tag_field="type", tag="log"):
    """`type: log`."""

    insight: bool = False


class LogNotifier:
    """Writes to the service's own log."""

    def __init__(self, settings: LogReceiver) -> None:
        self._name = settings.name

    def send(self, message: Message) -> Memory:
        """One line at level info; the alerts' texts stay values in it."""
        notification = message.notification
        group = notification.group
        log.info(
            "notification",
            receiver=self._name,
            status=group.status,
            # Values of a dict are escaped by both log formats, whatever control characters an alert holds.
            labels=group.common_labels,
            annotations=group.common_annotations,
            firing=sum(alert.firing for alert in group.alerts),
            resolved=sum(not alert.firing for alert in group.alerts),
            truncated=group.truncated_alerts,
            idempotency_key=notification.idempotency_key,
            **({"instead_of": notification.instead_of} if notification.instead_of else {}),
        )
        return {}
