"""What delivers: the contract of every notifier, what it is given and how it fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Protocol

import msgspec

from alert_bridge.insight import NOTHING, Insight
from alert_bridge.matchers import Matchers
from alert_bridge.templating import Templates
from alert_bridge.webhook import AlertGroup
from cloudpulse.clock import Clock
from cloudpulse.config import Section
from cloudpulse.durations import Duration
from cloudpulse.errors import CloudPulseError
from cloudpulse.trace import Trace

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
class Ended:
    """An incident that is over by its last `group`, and what the notifier kept of it: it is forgotten after this."""

    group: AlertGroup
    memory: Memory


@dataclass(frozen=True)
class Summary:
    """Why one message stands for many: a rate limit held back so many notifications, of so many incidents.

    `acks` are those among them that hold, by the fingerprint of what was taken. `ended` are the incidents that are over
    now and that the notifier remembers; it goes on remembering those that are not.
    """

    notifications: int
    incidents: int
    acks: Mapping[str, Ack] = field(default_factory=dict)
    ended: tuple[Ended, ...] = ()


@dataclass(frozen=True)
class Notification:
    """A group of alerts on its way to one receiver. `attempt` counts from 1.

    With an `ack` it tells that someone has taken these alerts. With a `summary` the group is made of the last ones of
    several incidents. `memory` is what the notifier kept when it last delivered something of this incident, empty
    for the first, for a summary, and once the incident is over. `progress` is what it kept when its last attempt at
    this very notification failed (DeliveryFailed), such as who has it already. `instead_of` names the receiver that
    could not be told, where this one is its fallback. `trace` is that of the request that brought it; of a summary, the
    first's.
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
    progress: Memory = field(default_factory=dict)
    instead_of: str = ""
    trace: Trace | None = None


@dataclass(frozen=True)
class Message:
    """What a notifier is given: the notification, what is known about it, and where to take it (an URL, or empty)."""

    notification: Notification
    insight: Insight = NOTHING
    ack_url: str = ""


class DeliveryFailed(CloudPulseError):
    """The receiver did not take the notification; the message holds no secret and nothing the receiver wrote.

    `retryable` says whether the same may succeed later, `retry_after_seconds` when the receiver asks to be tried,
    `progress` what the next attempt at this notification is to know, such as who has it already, and `memory` what to
    remember of the incident when there is no next one, because a part of the receiver does have it; `status` is what
    HTTP answered, if it did.
    """

    def __init__(
        self,
        message: str,
        *,
        retryable: bool,
        retry_after_seconds: float | None = None,
        progress: Memory | None = None,
        memory: Memory | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.retry_after_seconds = retry_after_seconds
        self.progress = progress
        self.memory = memory
        self.status = status


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


class RateLimit(Section, frozen=True):
    """So many messages in any time of length `per`; with the last of them, all that waits is told in one.

    Alerts that `except` matches pass at once and don't count.
    """

    messages: Annotated[int, msgspec.Meta(ge=1)]
    per: Duration = Duration(60)
    except_: Matchers | None = msgspec.field(default=None, name="except")

    def __post_init__(self) -> None:
        if not 1 <= self.per <= 86400:
            raise ValueError(f"per: expected 1s to 1d, got {self.per}")


class ReceiverSettings(Section, frozen=True):
    """What every receiver in the config has.

    `concurrency` is how many incidents it is told of at the same time; `insight` whether to ask Prometheus for the
    picture and the outlook of what it is told; `templates` its own wording. `rate_limit` bounds how often it is told,
    `give_up_after` how long one notification is tried (unsaid: the section's), and `fallback` names the receiver that
    is told instead after that.
    """

    name: str
    concurrency: int = 4
    insight: bool = True
    templates: Templates = Templates()
    rate_limit: RateLimit | None = None
    give_up_after: Duration | None = None
    fallback: str | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("name: expected a text such as oncall, got an empty one")
        if not 1 <= self.concurrency <= 64:
            raise ValueError(f"concurrency: expected 1 to 64, got {self.concurrency}")
        if self.give_up_after is not None and self.give_up_after <= 0:
            raise ValueError(f"give_up_after: expected more than 0s, got {self.give_up_after}")
