"""One message instead of many: what a receiver's rate limit holds back is gathered, and told together.

Functions within a transaction of the outbox. How much was told lately is counted from the table, so that a restart
forgets nothing and replicas share one limit. The notifications of a summary are bound by its idempotency key in their
column `summary`: another try, also after a crash, tells the same with the same key.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Row,
    and_,
    bindparam,
    distinct,
    exists,
    func,
    or_,
    select,
    update,
)

from alert_bridge import taken, webhook
from alert_bridge.notifier import Ack, Ended, Notification, RateLimit, Summary
from alert_bridge.schema import alerts, bound, claimed, delivered, groups, hasty, memories, notifications, pending
from alert_bridge.webhook import Alert, AlertGroup
from cloudpulse import trace

MOST_NOTIFICATIONS = 1000
MOST_ALERTS = 1000
"""In one summary: notifications, and alerts that it shows; further alerts are counted as truncated."""

_CHUNK = 500


def room(connection: Connection, now: float, receiver: str, limit: RateLimit) -> int:
    """How many messages the receiver may still be told, with those under way counted as told; 0 or less for none."""
    values = {"receiver": receiver, "from": now - limit.per, "to": now + limit.per}
    told, under_way = (connection.scalar(count, values) or 0 for count in (_TOLD, _UNDER_WAY))
    return limit.messages - told - under_way


def free_at(connection: Connection, now: float, receiver: str, limit: RateLimit) -> float | None:
    """When the receiver may be told again (Unix seconds); None if it may be now."""
    values = {"receiver": receiver, "from": now - limit.per, "to": now + limit.per, "skipped": limit.messages - 1}
    found: float | None = connection.scalar(_LAST_TOLD, values)
    return None if found is None else found + limit.per


def pressing() -> ColumnElement[bool]:
    """Rows of `notifications` of the parameter `receiver` whose incident has something urgent that waits, before which
    they must be told.
    """
    urgent = notifications.alias("urgent")
    # Every incident is more than an empty text; with that SQLite takes the index of those that wait, not the history's.
    these = hasty(urgent), urgent.c.receiver == bindparam("receiver"), urgent.c.incident > ""
    return notifications.c.incident.in_(select(urgent.c.incident).where(*these))


def gather(connection: Connection, now: float, receiver: str) -> str | None:
    """Bind all that is due and not under way, nor pressing, to a new summary: its key; None for less than two.

    Of each incident it takes the first ones that wait, so that order is kept.
    """
    under_way = notifications.alias("under_way")
    held = exists().where(
        pending(under_way),
        under_way.c.receiver == notifications.c.receiver,
        under_way.c.incident == notifications.c.incident,
        or_(claimed(under_way), under_way.c.due_at > now, under_way.c.summary.is_not(None)),
    )
    waiting = (
        select(notifications.c.id, notifications.c.positions)
        .where(
            pending(notifications),
            notifications.c.receiver == bindparam("receiver"),
            notifications.c.due_at <= now,
            ~held,
            ~pressing(),
        )
        .order_by(notifications.c.due_at, notifications.c.id)  # those of one incident are due at the same time
        .limit(MOST_NOTIFICATIONS)
    )
    ids: list[int] = []
    size = 0
    for row in connection.execute(waiting, {"receiver": receiver}):
        size += len(msgspec.json.decode(row.positions, type=list[int]))
        if ids and size > 10 * MOST_ALERTS:
            break
        ids.append(row.id)
    if len(ids) < 2:
        return None
    key = uuid.uuid4().hex
    connection.execute(update(notifications).where(notifications.c.id.in_(ids)).values(summary=key))
    return key


def members(key: str) -> ColumnElement[bool]:
    """The rows of the summary with this key."""
    return and_(bound(notifications), notifications.c.summary == key)


def rows(*, summary: bool) -> ColumnElement[bool]:
    """The rows that wait of a notification that is `named`; without a `summary` there is one."""
    if summary:
        return and_(bound(notifications), notifications.c.summary == bindparam("these"))
    return and_(pending(notifications), notifications.c.id == bindparam("this"))


def named(notification: Notification) -> dict[str, object]:
    """Parameters for `rows`."""
    return {"this": notification.id} if notification.summary is None else {"these": notification.idempotency_key}


def incidents(connection: Connection, notification: Notification) -> Sequence[str]:
    """Of these rows, which wait: the incidents."""
    if notification.summary is None:
        return [notification.group.incident]
    these = select(notifications.c.incident).where(members(notification.idempotency_key))
    return sorted({*connection.scalars(these)})


def load(connection: Connection, now: float, key: str) -> Notification:
    """The summary with this key, and what fires and is taken by `now`."""
    query = select(notifications, groups.c.body).join(groups).where(members(key)).order_by(notifications.c.id)
    rows = connection.execute(query).all()
    told = [taken.completed(connection, now, rows[0].receiver, group) for group in _told(connection, rows)]
    return Notification(
        id=rows[0].id,
        receiver=rows[0].receiver,
        idempotency_key=key,
        attempt=max(row.attempts for row in rows),
        stored_at=rows[0].stored_at,
        give_up_at=max(row.give_up_at for row in rows),
        group=merge(key, told),
        summary=Summary(
            notifications=len(rows),
            incidents=len({row.incident for row in rows}),
            acks=_acks(rows, told),
            ended=_ended(connection, rows[0].receiver, told),
        ),
        instead_of=", ".join(sorted({row.instead_of for row in rows if row.instead_of})),
        trace=trace.restored(rows[0].trace),
    )


def merge(key: str, told: Sequence[AlertGroup]) -> AlertGroup:
    """One group with what each incident's groups, in their order, say last of each alert; those that fire first."""
    latest: dict[tuple[str, str], Alert] = {}
    truncated: dict[str, int] = {}
    for group in told:
        truncated[group.incident] = group.truncated_alerts
        for alert in group.alerts:
            latest.pop((group.incident, alert.fingerprint), None)
            latest[group.incident, alert.fingerprint] = alert
    alerts = sorted(latest.values(), key=lambda alert: not alert.firing)
    shown = alerts[:MOST_ALERTS]
    return AlertGroup(
        version="4",
        group_key=f"summary {key}",
        receiver=told[-1].receiver if len({group.receiver for group in told}) == 1 else "",
        status="firing" if any(alert.firing for alert in alerts) else "resolved",
        alerts=tuple(shown),
        group_labels=webhook.common(group.group_labels for group in told),
        common_labels=webhook.common(alert.labels for alert in alerts),
        common_annotations=webhook.common(alert.annotations for alert in alerts),
        external_url=told[-1].external_url,
        truncated_alerts=sum(truncated.values()) + len(alerts) - len(shown),
    )


def _acks(rows: Sequence[Row[*tuple[Any, ...]]], told: Sequence[AlertGroup]) -> dict[str, Ack]:
    """What is taken, by fingerprint. What is told as firing after its ack isn't any more, or it would be silenced."""
    found: dict[str, Ack] = {}
    for row, group in zip(rows, told, strict=True):
        ack = None if row.ack is None else msgspec.json.decode(row.ack, type=Ack)
        for alert in group.alerts:
            if ack is not None:
                found[alert.fingerprint] = ack
            else:
                found.pop(alert.fingerprint, None)
    return found


def _ended(connection: Connection, receiver: str, told: Sequence[AlertGroup]) -> tuple[Ended, ...]:
    last = {group.incident: group for group in told}
    over = [incident for incident, group in last.items() if group.over]
    found: list[Ended] = []
    for start in range(0, len(over), _CHUNK):
        mine = memories.c.receiver == receiver, memories.c.incident.in_(over[start : start + _CHUNK])
        query = select(memories.c.incident, memories.c.body).where(*mine).order_by(memories.c.incident)
        found += [
            Ended(last[row.incident], msgspec.json.decode(row.body, type=dict[str, str]))
            for row in connection.execute(query)
        ]
    return tuple(found)


def _told(connection: Connection, rows: Sequence[Row[*tuple[Any, ...]]]) -> list[AlertGroup]:
    bodies: dict[int, list[str]] = {}
    wanted = sorted({row.group_id for row in rows})
    for start in range(0, len(wanted), _CHUNK):
        mine = alerts.c.group_id.in_(wanted[start : start + _CHUNK])
        for row in connection.execute(select(alerts.c.group_id, alerts.c.body).where(mine).order_by(alerts.c.id)):
            bodies.setdefault(row.group_id, []).append(row.body)
    return [
        webhook.join(row.body, bodies[row.group_id]).only(msgspec.json.decode(row.positions, type=list[int]))
        for row in rows
    ]


_message = func.coalesce(notifications.c.summary, notifications.c.idempotency_key)
_mine = notifications.c.receiver == bindparam("receiver"), notifications.c.urgent.is_(False)
# Bounded on both sides: after a clock that was set back, what was told "in the future" must not silence anyone.
_lately = (
    delivered(notifications),
    notifications.c.finished_at > bindparam("from"),
    notifications.c.finished_at < bindparam("to"),
)
_TOLD = select(func.count(distinct(_message))).where(*_mine, *_lately)
_UNDER_WAY = select(func.count(distinct(_message))).where(*_mine, claimed(notifications))
_last = func.max(notifications.c.finished_at)
_LAST_TOLD = (
    select(_last)
    .where(*_mine, *_lately)
    .group_by(_message)
    .order_by(_last.desc())
    .offset(bindparam("skipped", type_=Integer))
    .limit(1)
)
