"""Which notification is next, taking it, and what became of it. Functions within a transaction of the outbox.

Only the heads of incidents (alert_bridge/queueing.py) are claimed, so a later one never overtakes. A claim holds for as
long as its replica lives, however long a receiver takes: no clock ends it. What each delivery asks of the database is
built once, since SQLAlchemy takes twenty times as long to build a statement as to execute it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import (
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate

from alert_bridge import events, summaries, taken, webhook
from alert_bridge.notifier import Ack, Memory, Notification, RateLimit
from alert_bridge.schema import (
    PENDING,
    Finished,
    State,
    Text,
    alerts,
    claimed,
    groups,
    memories,
    notifications,
    pending,
)
from cloudpulse import trace


@dataclass(frozen=True)
class Head:
    """Rows to claim together, the first one's id first; `summary` is the key of the summary that they make."""

    ids: tuple[int, ...]
    summary: str | None


def choose(connection: Connection, now: float, receiver: str, limit: RateLimit | None) -> Head | None:
    """The receiver's next due notification that nobody has claimed; None if none is due.

    With the last message that the rate limit leaves it is a summary of all that waits; with none left only what is
    urgent is due. What another replica has just taken is passed over, not waited for.
    """
    room = None if limit is None else summaries.room(connection, now, receiver, limit)
    heads = _heads(limited=room is not None, full=room is not None and room <= 0)
    head = connection.execute(heads, {"now": now, "receiver": receiver}).one_or_none()
    if head is None:
        return None
    key: str | None = head.summary
    if key is None and room == 1 and not head.pressing:
        key = summaries.gather(connection, now, receiver)
    if key is None:
        return Head((head.id,), None)
    these = select(notifications.c.id).where(summaries.members(key)).order_by(notifications.c.id)
    return Head(tuple(connection.scalars(these)), key)


def take(connection: Connection, now: float, head: Head, replica: str) -> Notification:
    """Claim it for a replica: nobody else gets it."""
    if head.summary is None:
        return _loaded(connection, now, connection.execute(_TAKE, {"this": head.ids[0], "replica": replica}).one())
    connection.execute(_TAKE_ALL, {"these": head.summary, "replica": replica})
    return summaries.load(connection, now, head.summary)


def free(connection: Connection, ids: Collection[int], replica: str) -> None:
    """End these claims of a replica, which no thread of it knows of."""
    these = notifications.c.id.in_(ids), notifications.c.claimed_by == replica
    connection.execute(update(notifications).where(*these).values(claimed_by=None))


def let_go(
    connection: Connection, notification: Notification, replica: str, reason: str, progress: Memory | None
) -> bool:
    """End the claim without a result; False when it is no longer ours."""
    return bool(_settle(connection, notification, replica, PENDING, None, reason, progress))


def finish(
    connection: Connection,
    now: float,
    notification: Notification,
    replica: str,
    state: Finished,
    error: str | None = None,
    progress: Memory | None = None,
) -> list[int]:
    """The ids of the rows that it stood for; none when they are no longer ours."""
    ids = _settle(connection, notification, replica, state, now, error, progress)
    told = facts(notification) | ({} if error is None else {"error": error})
    for one in ids:
        events.record(connection, now, state, **told | {"notificationId": one})
    return ids


def remember(connection: Connection, receiver: str, incidents: Sequence[str], memory: Memory) -> None:
    """For one incident; several, which a summary has told the end of, are forgotten."""
    mine = and_(memories.c.receiver == receiver, memories.c.incident.in_(incidents))
    connection.execute(delete(memories).where(mine))
    if memory and len(incidents) == 1:
        row = {"receiver": receiver, "incident": incidents[0], "body": msgspec.json.encode(memory).decode()}
        connection.execute(insert(memories).values(row))


def facts(notification: Notification) -> dict[str, object]:
    """What an event tells of a notification."""
    return {
        "notificationId": notification.id,
        "receiver": notification.receiver,
        "incident": notification.group.incident,
        "status": notification.group.status,
        "labels": notification.group.common_labels,
        "attempt": notification.attempt,
    }


def _settle(
    connection: Connection,
    notification: Notification,
    replica: str,
    state: State,
    finished_at: float | None,
    error: str | None,
    progress: Memory | None,
) -> list[int]:
    values: dict[str, Any] = {
        "outcome": state,
        "at": finished_at,
        "error": error,
        "kept": None if progress is None else msgspec.json.encode(progress).decode(),
    }
    settled = _settlement(summary=notification.summary is not None)
    return sorted(connection.scalars(settled, {**summaries.named(notification), "replica": replica, **values}))


def _loaded(connection: Connection, now: float, row: Row[Any]) -> Notification:
    """Of a row of `notifications`."""
    named = {"group": row.group_id, "receiver": row.receiver, "incident": row.incident}
    told = connection.execute(_GROUP, named).all()
    frame, memory, _ = told[0]
    group = webhook.join(frame, [alert for _, _, alert in told]).only(
        msgspec.json.decode(row.positions, type=list[int])
    )
    return Notification(
        id=row.id,
        receiver=row.receiver,
        idempotency_key=row.idempotency_key,
        attempt=row.attempts,
        stored_at=row.stored_at,
        give_up_at=row.give_up_at,
        group=taken.completed(connection, now, row.receiver, group),
        ack=None if row.ack is None else msgspec.json.decode(row.ack, type=Ack),
        instead_of=row.instead_of or "",
        trace=trace.restored(row.trace),
        memory={} if memory is None else msgspec.json.decode(memory, type=dict[str, str]),
        progress={} if row.progress is None else msgspec.json.decode(row.progress, type=dict[str, str]),
    )


@cache
def _heads(*, limited: bool, full: bool) -> Select[Any]:
    """Due heads that nobody has claimed, the first one; where the rate limit is `full`, one that passes it."""
    earlier = notifications.alias("earlier")
    overtakes = exists().where(
        pending(earlier),
        earlier.c.receiver == notifications.c.receiver,
        earlier.c.incident == notifications.c.incident,
        earlier.c.id < notifications.c.id,
    )
    pressing = summaries.pressing() if limited else literal(False)
    return (
        select(notifications.c.id, notifications.c.summary, pressing.label("pressing"))
        .where(
            pending(notifications),
            notifications.c.receiver == bindparam("receiver"),
            notifications.c.due_at <= bindparam("now"),
            ~claimed(notifications),
            ~overtakes,
            *([pressing] if full else []),
        )
        .order_by(notifications.c.due_at, notifications.c.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=notifications)
    )


@cache
def _settlement(*, summary: bool) -> ReturningUpdate[Any]:
    """Still ours to settle: unless it was taken for lost and another has it, who will settle it."""
    ours = or_(notifications.c.claimed_by.is_(None), notifications.c.claimed_by == bindparam("replica"))
    values: dict[str, Any] = {
        "state": bindparam("outcome"),
        "finished_at": bindparam("at"),
        "claimed_by": None,
        "last_error": func.coalesce(bindparam("error", type_=Text), notifications.c.last_error),
        "progress": func.coalesce(bindparam("kept", type_=Text), notifications.c.progress),
    }
    these = update(notifications).where(summaries.rows(summary=summary), ours)
    return these.values(values).returning(notifications.c.id)


_taken = {"claimed_by": bindparam("replica"), "attempts": notifications.c.attempts + 1}
_TAKE = update(notifications).where(summaries.rows(summary=False)).values(_taken).returning(notifications)
_TAKE_ALL = update(notifications).where(summaries.rows(summary=True)).values(_taken)
_remembered = and_(memories.c.receiver == bindparam("receiver"), memories.c.incident == bindparam("incident"))
_GROUP = (
    select(groups.c.body, memories.c.body, alerts.c.body)
    .select_from(groups.join(alerts).outerjoin(memories, _remembered))
    .where(groups.c.id == bindparam("group"))
    .order_by(alerts.c.id)
)
