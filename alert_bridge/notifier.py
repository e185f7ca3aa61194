"""What delivers: the contract of every notifier, what it is given and how it fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from alert_bridge.insight import NOTHING, Insight
from alert_bridge.templating import Templates
from alert_bridge.webhook import AlertGroup
from cloudpulse.clock import Clock
from cloudpulse.config import Section
from cloudpulse.errors import CloudPulseError

REFUSED = frozenset({400, 406, 411, 413, 414, 415, 422, 431})
"""Statuses that judge the message itself; sending the same again can't help.

Every other one (a wrong token, a path not yet there, too many requests, a broken server, the same idempotency key
still at work) may be put right at the receiver or in the config while the notification waits.
"""


Memory = Mapping[str, str]
"""What a notifier keeps about an incident at its receiver, such as the id of the message to update."""


class Ack(msgspec.Struct, frozen=True, rename="camel"):
    """Someone has taken alerts of an incident until then (Unix seconds); `whole` when nothing else of it fires."""

    by: str
    until: float
    comment: str = ""
    undo_url: str = ""
    whole: bool = True


@dataclass(frozen=True)
class Summary:
    """Why one message stands for many: a rate limit held back so many notifications, of so many incidents."""

    notifications: int
    incidents: int


@dataclass(frozen=True)
class Notification:
    """A group of alerts on its way to one receiver. `attempt` counts from 1.

    With an `ack` it tells that someone has taken these alerts. With a `summary` the group is made of the last ones of
    several incidents. `memory` is what the notifier kept when it last delivered something of this incident, empty
    for the first, after a summary, and once the incident is over.
    """

    id: int
    receiver: str
    idempotency_key: str
    attempt: int
    stored_at: float
    give_up_at: float
    group: AlertGroup
    ack: Ack | None = None
    summary: Summary | None = None
    memory: Memory = field(default_factory=dict)


@dataclass(frozen=True)
class Message:
    """What a notifier is given: the notification, what is known about it, and where to take it (an URL, or empty)."""

    notification: Notification
    insight: Insight = NOTHING
    ack_url: str = ""


class DeliveryFailed(CloudPulseError):
    """The receiver did not take the notification; the message holds no secret and nothing the receiver wrote.

    `retryable` says whether the same may succeed later, `retry_after_seconds` when the receiver asks to be tried,
    `status` what it answered over HTTP.
    """

    def __init__(
        self,
        message: str,
        *,
        retryable: bool,
        retry_after_seconds: float | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retryable = retryable
        self.retry_after_seconds = retry_after_seconds


class Notifier(Protocol):
    """Formats and sends; retries, order, time and metrics are the caller's. Used by one thread."""

    def send(self, message: Message) -> Memory:
        """Return once the receiver has taken it, with what to remember of its incident; raises DeliveryFailed."""


@dataclass(frozen=True)
class Surroundings:
    """What the bridge gives every notifier beside its settings.

    `allow_link_local` is `alert_bridge.allow_link_local`; `template_failed` is called with the receiver's name each
    time a template of the user's could not be rendered.
    """

    clock: Clock = time.time
    allow_link_local: bool = False
    template_failed: Callable[[str], None] = lambda _: None


class ReceiverSettings(Section, frozen=True):
    """What every receiver in the config has.

    `concurrency` is how many incidents it is told of at the same time; `insight` whether to ask Prometheus for the
    picture and the outlook of what it is told; `templates` its own wording.
    """

    name: str
    concurrency: int = 4
    insight: bool = True
    templates: Templates = Templates()

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("name: expected a text such as oncall, got an empty one")
        if not 1 <= self.concurrency <= 64:
            raise ValueError(f"concurrency: expected 1 to 64, got {self.concurrency}")
