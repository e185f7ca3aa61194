"""What waits to be sent: groups stored once, and for each receiver a notification until it is delivered or given up.

A notification is the head of its incident at its receiver when none before it is pending; only heads are claimed, so
a later one never overtakes. The others carry their head's `due_at`, which keeps the search for due ones short.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, insert, literal, or_, select, update

from alert_bridge import audience, events, summaries, webhook
from alert_bridge.audience import Due, Routing
from alert_bridge.database import Database
from alert_bridge.matchers import Matchers
from alert_bridge.notifier import Ack, Memory, Notification, RateLimit, ReceiverSettings
from alert_bridge.router import Muted
from alert_bridge.schema import (
    DEAD,
    DELIVERED,
    FIRING,
    MUTED,
    PENDING,
    RESOLVED,
    Finished,
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
    """Where a group is, and who is told of it; `duplicate` when an equal one was there already."""

    group_id: int
    duplicate: bool
    receivers: tuple[str, ...] = ()


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
    Of `receivers`, by name, their limits, times and fallbacks count here; `configure` gives new ones.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        repeat_after: float,
        give_up_after: float,
        receivers: Mapping[str, ReceiverSettings] = MappingProxyType({}),
    ) -> None:
        self._database = database
        self._clock = clock
        self.configure(repeat_after=repeat_after, give_up_after=give_up_after, receivers=receivers)
        self.replica = uuid.uuid4().hex
        self._held: dict[int, frozenset[int]] = {}  # by the notification, the rows that it stands for

    def configure(
        self, *, repeat_after: float, give_up_after: float, receivers: Mapping[str, ReceiverSettings]
    ) -> None:
        """From now on. In seconds: how long an equal group counts as told, and how long a delivery is tried.

        What waits already keeps its time to be given up.
        """
        self._repeat_after = repeat_after
        self._give_up_after = give_up_after
        self._receivers = receivers

    @property
    def held(self) -> frozenset[int]:
        """Ids of what is under way from here."""
        return frozenset().union(*list(self._held.values()))

    def store(
        self,
        group: AlertGroup,
        deliveries: Mapping[str, Sequence[int]],
        muted: Mapping[str, Muted] = MappingProxyType({}),
    ) -> Stored:
        """Keep the group and a notification for each receiver of its alerts, unless an equal one is fresh.

        What is `muted` for a receiver waits apart, and ends are told to everyone who was told that the alert fires.
        """
        key, incident = group.key, group.incident
        frame, bodies = webhook.split(group)

        def operation(connection: Connection) -> Stored:
            now = self._clock()
            known = self._told_already(connection, now, key)
            if known is not None and not _contradicted(connection, known, group):
                return Stored(known, duplicate=True)
            row = {"key": key, "incident": incident, "status": group.status, "stored_at": now, "body": frame}
            everyone = audience.with_ends(connection, group, deliveries, self._receivers)
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
            for receiver, positions in everyone.items():
                self._enqueue(connection, now, Due(group_id, positions, receiver, incident))
            events.record(connection, now, "alerts", groupId=group_id)
            for receiver, kept in muted.items():
                self._mute(connection, now, Due(group_id, kept.positions, receiver, incident, kept.until))
            return Stored(group_id, duplicate=False, receivers=tuple(everyone))

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
                body = None if ack is None else _encoded(msgspec.structs.replace(ack, whole=firing == 0))
                sent = select(notifications.c.receiver, notifications.c.positions).where(
                    notifications.c.group_id == row.group_id,
                    notifications.c.ack.is_(None),
                    notifications.c.state != MUTED,
                )
                mine = [r for r, p in connection.execute(sent).all() if position in msgspec.json.decode(p)]
                for receiver in dict.fromkeys(mine):
                    due = Due(row.group_id, [position], receiver, row.incident)
                    self._enqueue(connection, now, due, ack=body)
                    told.append(receiver)
            if ack is not None:
                events.record(connection, now, "acked", fingerprint=fingerprint, by=ack.by, until=ack.until)
            return tuple(dict.fromkeys(told))

        return self._database.write(operation)

    def claim(self, receiver: str) -> Notification | None:
        """The receiver's next due notification, which nobody else gets while the lease holds; None if none is due.

        With the last message that the receiver's rate limit leaves it is a summary of all that waits; with none left
        only what is urgent is due.
        Other replicas claim at the same time: what one of them has just taken is passed over, not waited for.
        """
        earlier = notifications.alias("earlier")
        overtakes = exists().where(
            pending(earlier),
            earlier.c.receiver == notifications.c.receiver,
            earlier.c.incident == notifications.c.incident,
            earlier.c.id < notifications.c.id,
        )

        limit = self._limit(receiver)
        taken: list[int] = []

        def operation(connection: Connection) -> Notification | None:
            now = self._clock()
            # By the clock that set it; those of other replicas are freed when they are silent.
            expired = and_(notifications.c.claimed_by == self.replica, notifications.c.claimed_until <= now)
            room = None if limit is None else summaries.room(connection, now, receiver, limit)
            pressing = literal(False) if limit is None else summaries.pressing(receiver)
            head = connection.execute(
                select(notifications.c.id, notifications.c.summary, pressing.label("pressing"))
                .where(
                    pending(notifications),
                    notifications.c.receiver == receiver,
                    notifications.c.due_at <= now,
                    or_(notifications.c.claimed_by.is_(None), expired),
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
            these = notifications.c.id == head.id if key is None else summaries.members(key)
            # Known before it is committed, or the next beat could take it for a lost one.
            ids = connection.scalars(select(notifications.c.id).where(these).order_by(notifications.c.id)).all()
            taken.append(ids[0])
            self._held[ids[0]] = frozenset(ids)
            claimed = {
                "claimed_until": now + LEASE_SECONDS,
                "claimed_by": self.replica,
                "attempts": notifications.c.attempts + 1,
            }
            connection.execute(update(notifications).where(these).values(claimed))
            return _load(connection, head.id) if key is None else summaries.load(connection, key)

        notification: Notification | None = None
        try:
            # Without a limit: a claim that happens after its caller went would hold up the incident.
            notification = self._database.write(operation, seconds=None, in_turn=False)
        finally:
            for one in taken:
                if notification is None or one != notification.id:
                    self._held.pop(one, None)
        return notification

    def delivered(self, notification: Notification, memory: Memory) -> None:
        """The receiver has it, and its notifier remembers that of the incident."""

        def operation(connection: Connection) -> None:
            if not self._finish(connection, notification, state=DELIVERED):
                return
            if notification.summary is not None:
                over = [one.group.incident for one in notification.summary.ended]
                _remember(connection, notification.receiver, over, {})
            elif notification.memory or memory:
                _remember(connection, notification.receiver, [notification.group.incident], memory)

        self._settle(notification, operation)

    def given_up(
        self, notification: Notification, reason: str, progress: Memory | None = None, memory: Memory | None = None
    ) -> None:
        """A dead letter: kept for a person, and no longer in the way of those after it; its fallback is told."""
        fallback = self._fallback(notification.receiver)

        def operation(connection: Connection) -> None:
            now = self._clock()
            finished = self._finish(connection, notification, state=DEAD, last_error=reason, **_noted(progress))
            if finished and memory is not None and notification.summary is None:
                _remember(connection, notification.receiver, [notification.group.incident], memory)
            if fallback is not None:
                for dead in finished:
                    for due in audience.instead(connection, notification.receiver, dead, fallback):
                        self._enqueue(connection, now, due, instead_of=notification.receiver)

        self._settle(notification, operation)

    def postponed(self, notification: Notification, due_at: float, reason: str, progress: Memory | None = None) -> None:
        """Another try at `due_at`, which is told of the `progress`; those after it wait as long."""

        def operation(connection: Connection) -> None:
            released = {"claimed_until": None, "claimed_by": None, "last_error": reason, **_noted(progress)}
            told = summaries.incidents(connection, notification)
            if connection.execute(update(notifications).where(self._ours(notification)).values(released)).rowcount:
                _postpone(connection, notification.receiver, told, due_at)
                facts = _facts(notification) | {"dueAt": due_at, "error": reason}
                events.record(connection, self._clock(), "pending", **facts)

        self._settle(notification, operation)

    def retry(self, notification_id: int) -> State | None:
        """Make a waiting, muted or given-up notification due now; returns the state it had, None if there is none such.

        One already delivered stays as it is.
        """

        def operation(connection: Connection) -> State | None:
            this = notifications.c.id == notification_id
            table = notifications.c
            columns = (table.state, table.receiver, table.incident, table.finished_at)
            row = connection.execute(select(*columns).where(this)).one_or_none()
            if row is None:
                return None
            now = self._clock()
            if row.state == DEAD or (row.state == MUTED and row.finished_at is None):
                again = {
                    "state": PENDING,
                    "attempts": 0,
                    "give_up_at": now + self._patience(row.receiver),
                    "finished_at": None,
                    "summary": None,  # by itself now
                }
                connection.execute(update(notifications).where(this).values(again))
            if row.state != DELIVERED:
                _postpone(connection, row.receiver, [row.incident], now)
                facts = {"notificationId": notification_id, "receiver": row.receiver, "incident": row.incident}
                events.record(connection, now, "pending", **facts, dueAt=now)
            state: State = row.state
            return state

        return self._database.write(operation)

    def next_due(self, receiver: str, after: float) -> float | None:
        """When the first notification falls due that is not due at `after`, or the rate limit has room again, if that
        is sooner; None if neither is to come.
        """
        later = select(func.min(notifications.c.due_at)).where(
            pending(notifications), notifications.c.receiver == receiver, notifications.c.due_at > after
        )
        limit = self._limit(receiver)
        with self._database.read() as connection:
            moments = [connection.scalar(later)]
            if limit is not None:
                moments.append(summaries.free_at(connection, after, receiver, limit))
        return min((moment for moment in moments if moment is not None), default=None)

    def release(self, route: Routing) -> tuple[str, ...]:
        """Tell what mute routes kept of alerts that still fire, once they may be told; returns the receivers."""

        def operation(connection: Connection) -> tuple[str, ...]:
            now = self._clock()
            told: dict[str, None] = {}
            for due in audience.release(connection, now, route):
                if due.muted_until:
                    self._mute(connection, now, due)
                else:
                    self._enqueue(connection, now, due)
                    told[due.receiver] = None
            return tuple(told)

        return self._database.write(operation)

    def renew(self, notification: Notification) -> None:
        """Hold a claim for longer: its delivery is still under way."""
        held = update(notifications).where(
            summaries.rows_of(notification), pending(notifications), notifications.c.claimed_until.is_not(None)
        )

        def operation(connection: Connection) -> None:
            connection.execute(held.values(claimed_until=self._clock() + LEASE_SECONDS))

        self._database.write(operation)

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
        self, connection: Connection, now: float, due: Due, *, ack: str | None = None, instead_of: str | None = None
    ) -> None:
        # Not the highest due_at, which is the same: SQLite would look for it among all that waits for the receiver.
        mine = notifications.c.receiver == due.receiver, notifications.c.incident == due.incident
        last = select(notifications.c.due_at).where(pending(notifications), *mine).order_by(notifications.c.id.desc())
        limit = self._limit(due.receiver)
        passing = None if ack is not None or limit is None else limit.except_
        row = {
            **_row(now, due),
            "state": PENDING,
            "due_at": connection.scalar(last.limit(1)) or now,
            "give_up_at": now + self._patience(due.receiver),
            "ack": ack,
            "instead_of": instead_of,
            "urgent": passing is not None and _any_matches(connection, due, passing),
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
        self._held.pop(notification.id, None)

    def _ours(self, notification: Notification) -> ColumnElement[bool]:
        """Still ours to settle: unless it was taken for lost and another has it, who will settle it."""
        return and_(
            summaries.rows_of(notification),
            pending(notifications),
            or_(notifications.c.claimed_by.is_(None), notifications.c.claimed_by == self.replica),
        )

    def _mute(self, connection: Connection, now: float, due: Due) -> None:
        row = {**_row(now, due), "state": MUTED, "due_at": due.muted_until, "give_up_at": due.muted_until}
        connection.execute(insert(notifications).values(row))

    def _limit(self, receiver: str) -> RateLimit | None:
        settings = self._receivers.get(receiver)
        return None if settings is None else settings.rate_limit

    def _patience(self, receiver: str) -> float:
        settings = self._receivers.get(receiver)
        return self._give_up_after if settings is None or settings.give_up_after is None else settings.give_up_after

    def _fallback(self, receiver: str) -> str | None:
        settings = self._receivers.get(receiver)
        return None if settings is None else settings.fallback

    def _finish(self, connection: Connection, notification: Notification, state: Finished, **values: str) -> list[int]:
        """The ids of the rows that it stood for; none when they are no longer ours."""
        now = self._clock()
        done = {"finished_at": now, "claimed_until": None, "claimed_by": None, "state": state, **values}
        these = update(notifications).where(self._ours(notification)).values(done)
        ids = sorted(connection.scalars(these.returning(notifications.c.id)))
        facts = _facts(notification) | ({"error": values["last_error"]} if "last_error" in values else {})
        for one in ids:
            events.record(connection, now, state, **facts | {"notificationId": one})
        return ids


def _facts(notification: Notification) -> dict[str, object]:
    """What an event tells of a notification."""
    return {
        "notificationId": notification.id,
        "receiver": notification.receiver,
        "incident": notification.group.incident,
        "status": notification.group.status,
        "labels": notification.group.common_labels,
        "attempt": notification.attempt,
    }


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


def _remember(connection: Connection, receiver: str, incidents: Sequence[str], memory: Memory) -> None:
    """For one incident; several, which a summary has told the end of, are forgotten."""
    mine = and_(memories.c.receiver == receiver, memories.c.incident.in_(incidents))
    connection.execute(delete(memories).where(mine))
    if memory and len(incidents) == 1:
        row = {"receiver": receiver, "incident": incidents[0], "body": msgspec.json.encode(memory).decode()}
        connection.execute(insert(memories).values(row))


def _noted(progress: Memory | None) -> dict[str, str]:
    return {} if progress is None else {"progress": msgspec.json.encode(progress).decode()}


def _row(now: float, due: Due) -> dict[str, object]:
    return {
        "group_id": due.group_id,
        "positions": msgspec.json.encode(due.positions).decode(),
        "receiver": due.receiver,
        "incident": due.incident,
        "idempotency_key": uuid.uuid4().hex,
        "stored_at": now,
    }


def _any_matches(connection: Connection, due: Due, matchers: Matchers) -> bool:
    bodies = connection.scalars(
        select(alerts.c.body).where(alerts.c.group_id == due.group_id).order_by(alerts.c.id)
    ).all()
    return any(matchers.match(webhook.alert(bodies[position]).labels) for position in due.positions)


def _encoded(ack: Ack) -> str:
    return msgspec.json.encode(ack).decode()


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


def _postpone(connection: Connection, receiver: str, incidents: Sequence[str], due_at: float) -> None:
    mine = notifications.c.receiver == receiver, notifications.c.incident.in_(incidents)
    connection.execute(update(notifications).where(pending(notifications), *mine).values(due_at=due_at))
