"""What waits to be sent: groups stored once, and for each receiver a notification until it is delivered or given up.

A notification is the head of its incident at its receiver when none before it is pending; only heads are claimed, so
a later one never overtakes. The others carry their head's `due_at`, which keeps the search for due ones short.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, insert, or_, select, update

from alert_bridge import events, webhook
from alert_bridge.database import Database
from alert_bridge.notifier import Ack, Memory, Notification
from alert_bridge.schema import (
    DEAD,
    DELIVERED,
    FIRING,
    PENDING,
    RESOLVED,
    State,
    acks,
    alerts,
    groups,
    memories,
    notifications,
    pending,
    probes,
    unfinished,
)
from alert_bridge.webhook import Alert, AlertGroup
from cloudpulse.clock import Clock

LEASE_SECONDS = 600
"""How long a claim holds while its replica lives: longer than any receiver's timeout."""


@dataclass(frozen=True)
class Stored:
    """Where a group is; `duplicate` when an equal one was there already."""

    group_id: int
    duplicate: bool


@dataclass(frozen=True)
class Backlog:
    """What one receiver has in one state, and since when."""

    receiver: str
    state: State
    count: int
    oldest_at: float


class Outbox:
    """Every method is durable when it returns and raises StoreError when it could not be.

    `replica` names this process among those that share the database; `held` is what it has claimed and not settled.
    """

    def __init__(self, database: Database, clock: Clock, *, repeat_after: float, give_up_after: float) -> None:
        self._database = database
        self._clock = clock
        self._repeat_after = repeat_after
        self._give_up_after = give_up_after
        self.replica = uuid.uuid4().hex
        self._held: set[int] = set()

    @property
    def held(self) -> frozenset[int]:
        """Ids of notifications under way from here."""
        return frozenset(self._held)

    def store(self, group: AlertGroup, deliveries: Mapping[str, Sequence[int]]) -> Stored:
        """Keep the group and a notification for each receiver of its alerts, unless an equal one is fresh."""
        key, incident = group.key, group.incident
        frame, bodies = webhook.split(group)

        def operation(connection: Connection) -> Stored:
            now = self._clock()
            known = self._told_already(connection, now, key)
            if known is not None and not _contradicted(connection, known, group):
                return Stored(known, duplicate=True)
            row = {"key": key, "incident": incident, "status": group.status, "stored_at": now, "body": frame}
            group_id = connection.execute(insert(groups).values(row).returning(groups.c.id)).scalar_one()
            connection.execute(
                insert(alerts),
                [
                    {
                        "group_id": group_id,
                        "incident": incident,
                        "fingerprint": alert.fingerprint,
                        "alertname": alert.labels.get("alertname", ""),
                        "status": _status(alert),
                        "stored_at": now,
                        "body": body,
                    }
                    for alert, body in zip(group.alerts, bodies, strict=True)
                ],
            )
            for receiver, positions in deliveries.items():
                self._enqueue(connection, now, group_id, positions, receiver, incident)
            events.record(connection, now, "alerts", groupId=group_id)
            return Stored(group_id, duplicate=False)

        return self._database.write(operation)

    def acknowledge(self, fingerprint: str, ack: Ack) -> tuple[str, ...]:
        """Tell everyone who was told that this alert fires, and not that it ended, that someone has taken it.

        Returns the receivers; empty when it doesn't fire. `ack.whole` is found out here, for each incident.
        """

        def operation(connection: Connection) -> tuple[str, ...]:
            now = self._clock()
            latest = (
                select(func.max(alerts.c.id))
                .join(groups)
                .where(alerts.c.fingerprint == fingerprint)
                .group_by(groups.c.incident)
            )
            columns = (alerts.c.id, alerts.c.group_id, alerts.c.status, groups.c.incident)
            told: list[str] = []
            for row in connection.execute(select(*columns).join(groups).where(alerts.c.id.in_(latest))).all():
                if row.status != FIRING:
                    continue
                of_group = alerts.c.group_id == row.group_id
                position = connection.execute(select(func.count()).where(of_group, alerts.c.id < row.id)).scalar_one()
                taken = exists().where(
                    acks.c.fingerprint == alerts.c.fingerprint, acks.c.until > now, acks.c.undone_at.is_(None)
                )
                firing = connection.execute(
                    select(func.count()).where(of_group, alerts.c.status == FIRING, alerts.c.id != row.id, ~taken)
                ).scalar_one()
                body = msgspec.json.encode(msgspec.structs.replace(ack, whole=firing == 0)).decode()
                sent = select(notifications.c.receiver, notifications.c.positions).where(
                    notifications.c.group_id == row.group_id, notifications.c.ack.is_(None)
                )
                for receiver, positions in connection.execute(sent).all():
                    if position in msgspec.json.decode(positions, type=list[int]):
                        self._enqueue(connection, now, row.group_id, [position], receiver, row.incident, body)
                        told.append(receiver)
            events.record(connection, now, "acked", fingerprint=fingerprint, by=ack.by, until=ack.until)
            return tuple(dict.fromkeys(told))

        return self._database.write(operation)

    def claim(self, receiver: str) -> Notification | None:
        """The receiver's next due notification, which nobody else gets while the lease holds; None if none is due.

        Other replicas claim at the same time: what one of them has just taken is passed over, not waited for.
        """
        earlier = notifications.alias("earlier")
        overtakes = exists().where(
            pending(earlier),
            earlier.c.receiver == notifications.c.receiver,
            earlier.c.incident == notifications.c.incident,
            earlier.c.id < notifications.c.id,
        )

        taken: list[int] = []

        def operation(connection: Connection) -> Notification | None:
            now = self._clock()
            # By the clock that set it; those of other replicas are freed when they are silent.
            expired = and_(notifications.c.claimed_by == self.replica, notifications.c.claimed_until <= now)
            head: int | None = connection.scalar(
                select(notifications.c.id)
                .where(
                    pending(notifications),
                    notifications.c.receiver == receiver,
                    notifications.c.due_at <= now,
                    or_(notifications.c.claimed_by.is_(None), expired),
                    ~overtakes,
                )
                .order_by(notifications.c.due_at, notifications.c.id)
                .limit(1)
                .with_for_update(skip_locked=True)
            )
            if head is None:
                return None
            # Known before it is committed, or the next beat could take it for a lost one.
            taken.append(head)
            self._held.add(head)
            claimed = {
                "claimed_until": now + LEASE_SECONDS,
                "claimed_by": self.replica,
                "attempts": notifications.c.attempts + 1,
            }
            connection.execute(update(notifications).where(notifications.c.id == head).values(claimed))
            return _load(connection, head)

        notification: Notification | None = None
        try:
            # Without a limit: a claim that happens after its caller went would hold up the incident.
            notification = self._database.write(operation, seconds=None, in_turn=False)
        finally:
            self._held.difference_update(one for one in taken if notification is None or one != notification.id)
        return notification

    def delivered(self, notification: Notification, memory: Memory) -> None:
        """The receiver has it, and its notifier remembers that of the incident."""

        def operation(connection: Connection) -> None:
            if not self._finish(connection, notification, state=DELIVERED):
                return
            mine = and_(
                memories.c.receiver == notification.receiver, memories.c.incident == notification.group.incident
            )
            if notification.memory or memory:
                connection.execute(delete(memories).where(mine))
            if memory:
                body = msgspec.json.encode(memory).decode()
                row = {"receiver": notification.receiver, "incident": notification.group.incident, "body": body}
                connection.execute(insert(memories).values(row))

        self._settle(notification, operation)

    def given_up(self, notification: Notification, reason: str) -> None:
        """A dead letter: kept for a person, and no longer in the way of those after it."""
        self._settle(
            notification, lambda connection: self._finish(connection, notification, state=DEAD, last_error=reason)
        )

    def postponed(self, notification: Notification, due_at: float, reason: str) -> None:
        """Another try at `due_at`; those after it wait as long."""

        def operation(connection: Connection) -> None:
            released = {"claimed_until": None, "claimed_by": None, "last_error": reason}
            if connection.execute(update(notifications).where(self._ours(notification)).values(released)).rowcount:
                _postpone(connection, notification.receiver, notification.group.incident, due_at)

        self._settle(notification, operation)

    def retry(self, notification_id: int) -> State | None:
        """Make a waiting or given-up notification due now; returns the state it had, None if there is none such.

        One already delivered stays as it is.
        """

        def operation(connection: Connection) -> State | None:
            this = notifications.c.id == notification_id
            columns = (notifications.c.state, notifications.c.receiver, notifications.c.incident)
            row = connection.execute(select(*columns).where(this)).one_or_none()
            if row is None:
                return None
            now = self._clock()
            if row.state == DEAD:
                again = {"state": PENDING, "attempts": 0, "give_up_at": now + self._give_up_after, "finished_at": None}
                connection.execute(update(notifications).where(this).values(again))
            if row.state != DELIVERED:
                _postpone(connection, row.receiver, row.incident, now)
            state: State = row.state
            return state

        return self._database.write(operation)

    def next_due(self, receiver: str, after: float) -> float | None:
        """When the first notification falls due that is not due at `after`; None if there is none."""
        later = select(func.min(notifications.c.due_at)).where(
            pending(notifications), notifications.c.receiver == receiver, notifications.c.due_at > after
        )
        with self._database.read() as connection:
            due: float | None = connection.scalar(later)
        return due

    def backlog(self) -> list[Backlog]:
        """What waits and what was given up, by receiver."""
        columns = (notifications.c.receiver, notifications.c.state)
        counted = (
            select(*columns, func.count(), func.min(notifications.c.stored_at))
            .where(unfinished(notifications))
            .group_by(*columns)
        )
        with self._database.read() as connection:
            return [Backlog(*row) for row in connection.execute(counted)]

    def probe(self) -> None:
        """Write something, to see whether an alert could be."""

        def operation(connection: Connection) -> None:
            connection.execute(delete(probes))
            connection.execute(insert(probes).values(at=self._clock()))

        self._database.write(operation)

    def _enqueue(
        self,
        connection: Connection,
        now: float,
        group_id: int,
        positions: Sequence[int],
        receiver: str,
        incident: str,
        ack: str | None = None,
    ) -> None:
        before = select(func.max(notifications.c.due_at)).where(
            pending(notifications), notifications.c.receiver == receiver, notifications.c.incident == incident
        )
        row = {
            "group_id": group_id,
            "positions": msgspec.json.encode(positions).decode(),
            "receiver": receiver,
            "incident": incident,
            "idempotency_key": uuid.uuid4().hex,
            "state": PENDING,
            "stored_at": now,
            "due_at": connection.scalar(before) or now,
            "give_up_at": now + self._give_up_after,
            "ack": ack,
        }
        connection.execute(insert(notifications).values(row))

    def _told_already(self, connection: Connection, now: float, key: str) -> int | None:
        # Bounded on both sides: after a clock that was set back, "stored in the future" is not fresh for days.
        earliest, latest = now - self._repeat_after, now + self._repeat_after
        fresh = select(groups.c.id).where(
            groups.c.key == key, groups.c.stored_at > earliest, groups.c.stored_at < latest
        )
        found: int | None = connection.scalar(fresh.order_by(groups.c.id.desc()).limit(1))
        return found

    def _settle(self, notification: Notification, operation: Callable[[Connection], object]) -> None:
        self._database.write(operation)
        self._held.discard(notification.id)

    def _ours(self, notification: Notification) -> ColumnElement[bool]:
        """Still ours to settle: unless it was taken for lost and another has it, who will settle it."""
        return and_(
            notifications.c.id == notification.id,
            pending(notifications),
            or_(notifications.c.claimed_by.is_(None), notifications.c.claimed_by == self.replica),
        )

    def _finish(self, connection: Connection, notification: Notification, state: State, **values: str) -> bool:
        now = self._clock()
        done = {"finished_at": now, "claimed_until": None, "claimed_by": None, "state": state, **values}
        if not connection.execute(update(notifications).where(self._ours(notification)).values(done)).rowcount:
            return False
        events.record(connection, now, state, notificationId=notification.id, receiver=notification.receiver)
        return True


def _status(alert: Alert) -> str:
    return FIRING if alert.firing else RESOLVED


def _contradicted(connection: Connection, known: int, group: AlertGroup) -> bool:
    """Whether something else was stored since about an alert of this group: then it is news again.

    An alert that comes back within `repeat_after` with the start that it had (Prometheus was away for a while) must
    not stay resolved in people's eyes, though the same was told before.
    """
    now = {alert.fingerprint: _status(alert) for alert in group.alerts}
    last = select(func.max(alerts.c.id)).where(alerts.c.group_id == known).scalar_subquery()
    since = select(alerts.c.fingerprint, alerts.c.status).where(alerts.c.incident == group.incident, alerts.c.id > last)
    return any(now.get(row.fingerprint, row.status) != row.status for row in connection.execute(since))


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
        memory={} if row.memory is None else msgspec.json.decode(row.memory, type=dict[str, str]),
    )


def _postpone(connection: Connection, receiver: str, incident: str, due_at: float) -> None:
    mine = and_(pending(notifications), notifications.c.receiver == receiver, notifications.c.incident == incident)
    connection.execute(update(notifications).where(mine).values(due_at=due_at))
