"""One notification among those that wait: how it joins the queue of its receiver, and how the queue is put off.

Functions within a transaction of the outbox. A notification is the head of its incident at its receiver when none
before it is pending; the others carry their head's `due_at`, which keeps the search for due ones short.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from sqlalchemy import Connection, Double, bindparam, func, insert, select, update

from alert_bridge import webhook
from alert_bridge.matchers import Matchers
from alert_bridge.notifier import RateLimit, ReceiverSettings
from alert_bridge.schema import MUTED, PENDING, Text, alerts, notifications, pending
from cloudpulse import trace


@dataclass(frozen=True)
class Terms:
    """What the outbox takes of a config, in seconds: how long an equal group counts as told, how long a delivery is
    tried, and of the receivers, by name, their limits, times and fallbacks.
    """

    repeat_after: float
    give_up_after: float
    receivers: Mapping[str, ReceiverSettings] = field(default_factory=dict)

    def limit(self, receiver: str) -> RateLimit | None:
        """How often it may be told."""
        settings = self.receivers.get(receiver)
        return None if settings is None else settings.rate_limit

    def patience(self, receiver: str) -> float:
        """For how long one notification is tried."""
        settings = self.receivers.get(receiver)
        return self.give_up_after if settings is None or settings.give_up_after is None else settings.give_up_after

    def fallback(self, receiver: str) -> str | None:
        """Who is told instead, after that."""
        settings = self.receivers.get(receiver)
        return None if settings is None else settings.fallback


@dataclass(frozen=True)
class Due:
    """Alerts at `positions` of a stored group that a receiver is to be told of now, or not before `muted_until`.

    `instead_of` the receiver that could not be told that they fire.
    """

    group_id: int
    positions: Sequence[int]
    receiver: str
    incident: str
    muted_until: float = 0
    instead_of: str | None = None


def enqueue(connection: Connection, now: float, terms: Terms, due: Due, *, ack: str | None = None) -> None:
    """Behind all of its incident that waits for the receiver, and due with it.

    It tells of the alerts, or with an `ack` (taken.encoded) of that.
    """
    limit = terms.limit(due.receiver)
    passing = None if ack is not None or limit is None else limit.except_
    row = {
        **_row(now, due),
        "state": PENDING,
        "give_up_at": now + terms.patience(due.receiver),
        "ack": ack,
        "instead_of": due.instead_of,
        "urgent": passing is not None and _any_matches(connection, due, passing),
    }
    connection.execute(_JOIN, {**row, "whom": due.receiver, "what": due.incident, "now": now})


def mute(connection: Connection, now: float, due: Due) -> None:
    """Apart from what waits: nobody is told, and it is looked at again at `muted_until`."""
    row = {**_row(now, due), "state": MUTED, "give_up_at": due.muted_until, "until": due.muted_until}
    connection.execute(_MUTE, row)


def postpone(connection: Connection, receiver: str, incidents: Sequence[str], due_at: float) -> None:
    """All that waits for the receiver of these incidents."""
    mine = notifications.c.receiver == receiver, notifications.c.incident.in_(incidents)
    connection.execute(update(notifications).where(pending(notifications), *mine).values(due_at=due_at))


def _row(now: float, due: Due) -> dict[str, object]:
    return {
        "group_id": due.group_id,
        "positions": msgspec.json.encode(due.positions).decode(),
        "receiver": due.receiver,
        "incident": due.incident,
        "idempotency_key": uuid.uuid4().hex,
        "stored_at": now,
        "here": place.stored if (place := trace.current()) else None,
        "its_group": due.group_id,
    }


def _any_matches(connection: Connection, due: Due, matchers: Matchers) -> bool:
    bodies = connection.scalars(
        select(alerts.c.body).where(alerts.c.group_id == due.group_id).order_by(alerts.c.id)
    ).all()
    return any(matchers.match(webhook.alert(bodies[position]).labels) for position in due.positions)


# Not the highest due_at, which is the same: SQLite would look for it among all that waits for the receiver.
_last = (
    select(notifications.c.due_at)
    .where(
        pending(notifications),
        notifications.c.receiver == bindparam("whom"),
        notifications.c.incident == bindparam("what"),
    )
    .order_by(notifications.c.id.desc())
    .limit(1)
)
# What is told late, since a route muted it, belongs to the request that brought it.
_earlier = (
    select(notifications.c.trace)
    .where(notifications.c.group_id == bindparam("its_group"))
    .order_by(notifications.c.id)
    .limit(1)
)
_trace = func.coalesce(bindparam("here", type_=Text), _earlier.scalar_subquery())
_JOIN = insert(notifications).values(due_at=func.coalesce(_last.scalar_subquery(), bindparam("now")), trace=_trace)
_MUTE = insert(notifications).values(due_at=bindparam("until", type_=Double), trace=_trace)
