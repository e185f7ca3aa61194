"""Which notification is next, taking it, and what became of it. Functions within a transaction of the outbox.

Only the heads of incidents (alert_bridge/queueing.py) are claimed, so a later one never overtakes. A claim holds for as
long as its replica lives, however long a receiver takes: no clock ends it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, delete, exists, insert, literal, or_, select, update

from alert_bridge import events, summaries, webhook
from alert_bridge.notifier import Ack, Memory, Notification, RateLimit
from alert_bridge.schema import Finished, alerts, claimed, groups, memories, notifications, pending


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
    earlier = notifications.alias("earlier")
    overtakes = exists().where(
        pending(earlier),
        earlier.c.receiver == notifications.c.receiver,
        earlier.c.incident == notifications.c.incident,
        earlier.c.id < notifications.c.id,
    )
    room = None if limit is None else summaries.room(connection, now, receiver, limit)
    pressing = literal(False) if limit is None else summaries.pressing(receiver)
    head = connection.execute(
        select(notifications.c.id, notifications.c.summary, pressing.label("pressing"))
        .where(
            pending(notifications),
            notifications.c.receiver == receiver,
            notifications.c.due_at <= now,
            ~claimed(notifications),
            ~overtakes,
            *([pressing] if room is not None and room <= 0 else []),
        )
        .order_by(notifications.c.due_at, notifications.c.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=notifications)
    ).one_or_none()
    if head is None:
        return None
    key: str | None = head.summary
    if key is None and room == 1 and not head.pressing:
        key = summaries.gather(connection, now, receiver)
    if key is None:
        return Head((head.id,), None)
    these = select(notifications.c.id).where(summaries.members(key)).order_by(notifications.c.id)
    return Head(tuple(connection.scalars(these)), key)


def take(connection: Connection, head: Head, replica: str) -> Notification:
    """Claim it for a replica: nobody else gets it."""
    these = notifications.c.id == head.ids[0] if head.summary is None else summaries.members(head.summary)
    connection.execute(
        update(notifications).where(these).values(claimed_by=replica, attempts=notifications.c.attempts + 1)
    )
    return _load(connection, head.ids[0]) if head.summary is None else summaries.load(connection, head.summary)


def free(connection: Connection, ids: Collection[int], replica: str) -> None:
    """End these claims of a replica, which no thread of it knows of."""
    these = notifications.c.id.in_(ids), notifications.c.claimed_by == replica
    connection.execute(update(notifications).where(*these).values(claimed_by=None))


def let_go(
    connection: Connection, notification: Notification, replica: str, reason: str, progress: Memory | None
) -> bool:
    """End the claim without a result; False when it is no longer ours."""
    released = {"claimed_by": None, "last_error": reason, **noted(progress)}
    return connection.execute(update(notifications).where(_ours(notification, replica)).values(released)).rowcount > 0


def finish(
    connection: Connection, now: float, notification: Notification, replica: str, state: Finished, **values: str
) -> list[int]:
    """The ids of the rows that it stood for; none when they are no longer ours."""
    done = {"finished_at": now, "claimed_by": None, "state": state, **values}
    these = update(notifications).where(_ours(notification, replica)).values(done)
    ids = sorted(connection.scalars(these.returning(notifications.c.id)))
    told = facts(notification) | ({"error": values["last_error"]} if "last_error" in values else {})
    for one in ids:
        events.record(connection, now, state, **told | {"notificationId": one})
    return ids


def remember(connection: Connection, receiver: str, incidents: Sequence[str], memory: Memory) -> None:
    """For one incident; several, which were told in one summary, forget."""
    mine = and_(memories.c.receiver == receiver, memories.c.incident.in_(incidents))
    connection.execute(delete(memories).where(mine))
    if memory and len(incidents) == 1:
        row = {"receiver": receiver, "incident": incidents[0], "body": msgspec.json.encode(memory).decode()}
        connection.execute(insert(memories).values(row))


def noted(progress: Memory | None) -> Mapping[str, str]:
    """What to keep for the next try at the same notification, as columns."""
    return {} if progress is None else {"progress": msgspec.json.encode(progress).decode()}


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


def _ours(notification: Notification, replica: str) -> ColumnElement[bool]:
    """Still ours to settle: unless it was taken for lost and another has it, who will settle it."""
    return and_(
        summaries.rows_of(notification),
        pending(notifications),
        or_(notifications.c.claimed_by.is_(None), notifications.c.claimed_by == replica),
    )


def _load(connection: Connection, notification_id: int) -> Notification:
    remembered = and_(memories.c.receiver == notifications.c.receiver, memories.c.incident == notifications.c.incident)
    tables = notifications.join(groups).outerjoin(memories, remembered)
    query = select(notifications, groups.c.body, memories.c.body.label("memory")).select_from(tables)
    row = connection.execute(query.where(notifications.c.id == notification_id)).one()
    mine = alerts.c.group_id == row.group_id
    bodies = connection.scalars(select(alerts.c.body).where(mine).order_by(alerts.c.id)).all()
    return Notification(
        id=row.id,
        receiver=row.receiver,
        idempotency_key=row.idempotency_key,
        attempt=row.attempts,
        stored_at=row.stored_at,
        give_up_at=row.give_up_at,
        group=webhook.join(row.body, bodies).only(msgspec.json.decode(row.positions, type=list[int])),
        ack=None if row.ack is None else msgspec.json.decode(row.ack, type=Ack),
        instead_of=row.instead_of or "",
        memory={} if row.memory is None else msgspec.json.decode(row.memory, type=dict[str, str]),
        progress={} if row.progress is None else msgspec.json.decode(row.progress, type=dict[str, str]),
    )
