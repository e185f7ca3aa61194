"""What waits to be sent: groups stored once, and for each receiver a notification until it is delivered or given up.

A notification is the head of its incident at its receiver when none before it is pending; only heads are claimed, so
a later one never overtakes. The others carry their head's `due_at`, which keeps the search for due ones short.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, and_, delete, exists, func, insert, or_, select, update

from alert_bridge import events, webhook
from alert_bridge.database import Database
from alert_bridge.notifier import Ack, Memory, Notification
from alert_bridge.schema import (
    DEAD,
    DELIVERED,
    PENDING,
    State,
    alerts,
    groups,
    memories,
    notifications,
    pending,
    probes,
)
from alert_bridge.webhook import AlertGroup
from cloudpulse.clock import Clock

LEASE_SECONDS = 600
"""How long a claim holds without a result: longer than any receiver's timeout."""


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
    """Every method is durable when it returns and raises StoreError when it could not be."""

    def __init__(self, database: Database, clock: Clock, *, repeat_after: float, give_up_after: float) -> None:
        self._database = database
        self._clock = clock
        self.configure(repeat_after=repeat_after, give_up_after=give_up_after)

    def configure(self, *, repeat_after: float, give_up_after: float) -> None:
        """From now on. In seconds: how long an equal group counts as told, and how long a delivery is tried."""
        self._repeat_after = repeat_after
        self._give_up_after = give_up_after

    def store(self, group: AlertGroup, deliveries: Mapping[str, Sequence[int]]) -> Stored:
        """Keep the group and a notification for each receiver of its alerts, unless an equal one is fresh."""
        key, incident = group.key, group.incident
        frame, bodies = webhook.split(group)

        def operation(connection: Connection) -> Stored:
            now = self._clock()
            # Bounded on both sides: after a clock that was set back, "stored in the future" is not fresh for days.
            age = now - groups.c.stored_at
            fresh = and_(groups.c.key == key, age < self._repeat_after, age > -self._repeat_after)
            if (known := connection.scalar(select(groups.c.id).where(fresh).limit(1))) is not None:
                return Stored(known, duplicate=True)
            row = {"key": key, "incident": incident, "status": group.status, "stored_at": now, "body": frame}
            group_id = connection.execute(insert(groups).values(row).returning(groups.c.id)).scalar_one()
            connection.execute(
                insert(alerts),
                [
                    {
                        "group_id": group_id,
                        "fingerprint": alert.fingerprint,
                        "alertname": alert.labels.get("alertname", ""),
                        "status": alert.status,
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

    def acknowledge(self, fingerprint: str, ack: Ack | None, record: Callable[[Connection], None]) -> tuple[str, ...]:
        """Tell everyone who was told that this alert fires, and not that it ended, that someone has taken it.

        Without an `ack`, nobody has any more: they are told again that it fires. Returns the receivers; empty when it
        doesn't fire. `ack.whole` is found out here, for each incident. `record` is in the same transaction.
        """

        def operation(connection: Connection) -> tuple[str, ...]:
            now = self._clock()
            record(connection)
            latest = (
                select(func.max(alerts.c.id))
                .join(groups)
                .where(alerts.c.fingerprint == fingerprint)
                .group_by(groups.c.incident)
            )
            columns = (alerts.c.id, alerts.c.group_id, alerts.c.status, groups.c.incident)
            told: list[str] = []
            for row in connection.execute(select(*columns).join(groups).where(alerts.c.id.in_(latest))).all():
                if row.status != "firing":
                    continue
                of_group = alerts.c.group_id == row.group_id
                position = connection.execute(select(func.count()).where(of_group, alerts.c.id < row.id)).scalar_one()
                firing = connection.execute(
                    select(func.count()).where(of_group, alerts.c.status == "firing", alerts.c.id != row.id)
                ).scalar_one()
                body = None if ack is None else _encoded(msgspec.structs.replace(ack, whole=firing == 0))
                sent = select(notifications.c.receiver, notifications.c.positions).where(
                    notifications.c.group_id == row.group_id, notifications.c.ack.is_(None)
                )
                mine = [r for r, p in connection.execute(sent).all() if position in msgspec.json.decode(p)]
                for receiver in dict.fromkeys(mine):
                    self._enqueue(connection, now, row.group_id, [position], receiver, row.incident, body)
                    told.append(receiver)
            if ack is not None:
                events.record(connection, now, "acked", fingerprint=fingerprint, by=ack.by, until=ack.until)
            return tuple(dict.fromkeys(told))

        return self._database.write(operation)

    def claim(self, receiver: str) -> Notification | None:
        """The receiver's next due notification, which nobody else gets while the lease holds; None if none is due."""
        earlier = notifications.alias("earlier")
        overtakes = exists().where(
            pending(earlier),
            earlier.c.receiver == notifications.c.receiver,
            earlier.c.incident == notifications.c.incident,
            earlier.c.id < notifications.c.id,
        )

        def operation(connection: Connection) -> Notification | None:
            now = self._clock()
            head: int | None = connection.scalar(
                select(notifications.c.id)
                .where(
                    pending(notifications),
                    notifications.c.receiver == receiver,
                    notifications.c.due_at <= now,
                    or_(notifications.c.claimed_until.is_(None), notifications.c.claimed_until <= now),
                    ~overtakes,
                )
                .order_by(notifications.c.due_at, notifications.c.id)
                .limit(1)
            )
            if head is None:
                return None
            claimed = {"claimed_until": now + LEASE_SECONDS, "attempts": notifications.c.attempts + 1}
            connection.execute(update(notifications).where(notifications.c.id == head).values(claimed))
            return _load(connection, head)

        # Without a limit: a claim that happens after its caller went would hold up the incident for the whole lease.
        return self._database.write(operation, seconds=None)

    def delivered(self, notification: Notification, memory: Memory) -> None:
        """The receiver has it, and its notifier remembers that of the incident."""

        def operation(connection: Connection) -> None:
            self._finish(connection, notification, state=DELIVERED)
            mine = and_(
                memories.c.receiver == notification.receiver, memories.c.incident == notification.group.incident
            )
            connection.execute(delete(memories).where(mine))
            if memory:
                body = msgspec.json.encode(memory).decode()
                row = {"receiver": notification.receiver, "incident": notification.group.incident, "body": body}
                connection.execute(insert(memories).values(row))

        self._database.write(operation)

    def given_up(self, notification: Notification, reason: str) -> None:
        """A dead letter: kept for a person, and no longer in the way of those after it."""
        self._database.write(lambda connection: self._finish(connection, notification, state=DEAD, last_error=reason))

    def postponed(self, notification: Notification, due_at: float, reason: str) -> None:
        """Another try at `due_at`; those after it wait as long."""

        def operation(connection: Connection) -> None:
            released = {"claimed_until": None, "last_error": reason}
            connection.execute(update(notifications).where(notifications.c.id == notification.id).values(released))
            _postpone(connection, notification.receiver, notification.group.incident, due_at)

        self._database.write(operation)

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
            .where(notifications.c.state.in_([PENDING, DEAD]))
            .group_by(*columns)
        )
        with self._database.read() as connection:
            return [Backlog(*row) for row in connection.execute(counted)]

    def resume(self, receivers: Sequence[str], heir: str) -> int:
        """Free what an ended process had claimed; what waits for a receiver no longer in the config goes to `heir`.

        Call it once, before any claim. Returns how many changed hands.
        """

        def operation(connection: Connection) -> int:
            claimed = and_(pending(notifications), notifications.c.claimed_until.is_not(None))
            connection.execute(update(notifications).where(claimed).values(claimed_until=None))
            orphaned = and_(pending(notifications), notifications.c.receiver.not_in(receivers))
            return connection.execute(update(notifications).where(orphaned).values(receiver=heir)).rowcount

        return self._database.write(operation)

    def inherit(self, receivers: Sequence[str], heir: str) -> int:
        """Give `heir` what waits for other receivers; returns how many. At any time.

        Incidents of which something is on its way stay: were that to fail, it would come after the later ones.
        """
        claimed = notifications.alias("claimed")

        def operation(connection: Connection) -> int:
            under_way = exists().where(
                pending(claimed),
                claimed.c.receiver == notifications.c.receiver,
                claimed.c.incident == notifications.c.incident,
                claimed.c.claimed_until > self._clock(),
            )
            orphaned = and_(pending(notifications), notifications.c.receiver.not_in(receivers), ~under_way)
            return connection.execute(update(notifications).where(orphaned).values(receiver=heir)).rowcount

        return self._database.write(operation)

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

    def _finish(self, connection: Connection, notification: Notification, state: State, **values: str) -> None:
        now = self._clock()
        this = notifications.c.id == notification.id
        done = {"finished_at": now, "claimed_until": None, "state": state, **values}
        connection.execute(update(notifications).where(this).values(done))
        events.record(connection, now, state, notificationId=notification.id, receiver=notification.receiver)


def _encoded(ack: Ack) -> str:
    return msgspec.json.encode(ack).decode()


def _load(connection: Connection, notification_id: int) -> Notification:
    query = select(notifications, groups.c.body).join(groups).where(notifications.c.id == notification_id)
    row = connection.execute(query).one()
    mine = alerts.c.group_id == row.group_id
    kept = connection.scalar(
        select(memories.c.body).where(memories.c.receiver == row.receiver, memories.c.incident == row.incident)
    )
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
        memory={} if kept is None else msgspec.json.decode(kept, type=dict[str, str]),
    )


def _postpone(connection: Connection, receiver: str, incident: str, due_at: float) -> None:
    mine = and_(pending(notifications), notifications.c.receiver == receiver, notifications.c.incident == incident)
    connection.execute(update(notifications).where(mine).values(due_at=due_at))
