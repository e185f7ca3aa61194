"""Every notifier that exists: its settings and what they make. The one table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from alert_bridge.grafana.alerts import GrafanaNotifier
from alert_bridge.grafana.settings import GrafanaSettings
from alert_bridge.notifier import Notifier, ReceiverSettings, Surroundings
from alert_bridge.notifiers.apprise import AppriseNotifier, AppriseReceiver
from alert_bridge.notifiers.log import LogNotifier, LogReceiver
from alert_bridge.notifiers.mail import EmailNotifier, EmailReceiver
from alert_bridge.notifiers.pagerduty import PagerDutyNotifier, PagerDutyReceiver
from alert_bridge.notifiers.slack import SlackNotifier, SlackReceiver
from alert_bridge.notifiers.teams import TeamsNotifier, TeamsReceiver
from alert_bridge.notifiers.webhook import WebhookNotifier, WebhookReceiver

Receiver = (
    WebhookReceiver | SlackReceiver | TeamsReceiver | PagerDutyReceiver | EmailReceiver | AppriseReceiver | LogReceiver
)
"""A receiver of the config, told apart by its `type`."""

NOTIFIERS: dict[type[ReceiverSettings], Callable[[Any, Surroundings], Notifier]] = {
    WebhookReceiver: WebhookNotifier,
    SlackReceiver: SlackNotifier,
    TeamsReceiver: TeamsNotifier,
    PagerDutyReceiver: PagerDutyNotifier,
    EmailReceiver: EmailNotifier,
    AppriseReceiver: AppriseNotifier,
    LogReceiver: LogNotifier,
    GrafanaSettings: GrafanaNotifier,  # `alert_bridge.grafana`, not one of the `receivers`
}


def build(receiver: ReceiverSettings, surroundings: Surroundings = Surroundings()) -> Notifier:  # noqa: B008  frozen
    """A new notifier for one thread; raises ConfigError when a secret's file can't be read."""
    return NOTIFIERS[type(receiver)](receiver, surroundings)
