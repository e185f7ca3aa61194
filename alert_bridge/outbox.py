"""What waits to be sent: groups stored once, and for each receiver a notification until it is delivered or given up.

What is done within a transaction is in storing.py, queueing.py, claiming.py, summaries.py, audience.py and taken.py.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from alert_bridge import audience, claiming, events, firing, queueing, storing, summaries, taken, webhook
from alert_bridge.audience import Routing
from alert_bridge.database import Database
from alert_bridge.holding import Claim, Holding
from alert_bridge.notifier import Ack, Memory, Notification
from alert_bridge.queueing import Due, Terms
from alert_bridge.router import Muted
from alert_bridge.schema import DEAD, DELIVERED, MUTED, PENDING, State, notifications, pending, probes, unfinished
from alert_bridge.webhook import AlertGroup
from cloudpulse.clock import Clock
from cloudpulse.errors import CloudPulseError

T = TypeVar("T")


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


class Outdated(CloudPulseError):
    """A notification that must not be told any more."""


class Outbox:
    """Every method is durable when it returns and raises StoreError when it could not be.

    `replica` names this process among those that share the database; `held` is what it has claimed and not settled.
    Used by any thread.
    """

    def __init__(self, database: Database, clock: Clock, terms: Terms) -> None:
        self._database = database
        self._clock = clock
        self._terms = terms
        self.replica = uuid.uuid4().hex
        self._holding = Holding()

    def configure(self, terms: Terms) -> None:
        """From now on. What waits already keeps its time to be given up."""
        self._terms = terms

    @property
    def held(self) -> frozenset[int]:
        """Ids of what is under way from here."""
        return self._holding.rows

    def store(
        self,
        group: AlertGroup,
        deliveries: Mapping[str, Sequence[int]],
        muted: Mapping[str, Muted] = MappingProxyType({}),
    ) -> Stored:
        """Keep the group and a notification for each receiver of its alerts, unless an equal one is fresh.

        What is `muted` for a receiver waits apart, and ends are told to everyone who was told that the alert fires.
        """
        key, incident, terms = group.key, group.incident, self._terms
        frame, bodies = webhook.split(group)

        def operation(connection: Connection) -> Stored:
            now = self._clock()
            known = storing.told_already(connection, now, terms.repeat_after, group, key)
            if known is not None:
                return Stored(known, duplicate=True)
            group_id = storing.keep(connection, now, group, key, frame, bodies)
            firing.keep(connection, group_id, group.incident)
            everyone = audience.of(connection, group_id, group, deliveries, terms.receivers)
            for due in everyone:
                queueing.enqueue(connection, now, terms, due)
            events.record(connection, now, "alerts", groupId=group_id)
            for receiver, kept in muted.items():
                queueing.mute(connection, now, Due(group_id, kept.positions, receiver, incident, kept.until))
            return Stored(group_id, duplicate=False, receivers=tuple(due.receiver for due in everyone))

        return self._database.write(operation)

    def acknowledge(self, fingerprint: str, ack: Ack | None, record: Callable[[Connection], object]) -> tuple[str, ...]:
        """Tell everyone who was told that this alert fires, and not that it ended, that someone has taken it.

        Without an `ack`, nobody has any more: they are told again that it fires. Returns the receivers; empty when it
        doesn't fire. `ack.whole` is found out here, for each incident. `record` is in the same transaction; where it
        says False, somebody else has done this already and nobody is told.
        """

        def operation(connection: Connection) -> tuple[str, ...]:
            now = self._clock()
            if record(connection) is False:
                return ()
            hearers = taken.hearers(connection, now, fingerprint)
            for due, whole in hearers:
                body = None if ack is None else taken.encoded(ack, whole=whole)
                queueing.enqueue(connection, now, self._terms, due, ack=body)
            if ack is not None:
                events.record(connection, now, "acked", fingerprint=fingerprint, by=ack.by, until=ack.until)
            return tuple(dict.fromkeys(due.receiver for due, _ in hearers))

        return self._database.write(operation)

    def claim(self, receiver: str) -> Notification | None:
        """The receiver's next due notification, which nobody else gets until it is settled; None if none is due.

        The receiver's rate limit counts. Other replicas claim at the same time. A caller that can't settle it says
        that it is `lost`.
        """
        limit = self._terms.limit(receiver)
        tried: list[Claim] = []
        freed: set[int] = set()

        def operation(connection: Connection) -> Notification | None:
            if strays := self._holding.strays:
                claiming.free(connection, strays, self.replica)
                freed.update(strays)
            now = self._clock()
            head = claiming.choose(connection, now, receiver, limit)
            if head is None:
                return None
            claimed = claiming.take(connection, now, head, self.replica)
            # Known before it is committed: another claim in the same transaction mustn't take it for a stray.
            tried.append(Claim(claimed.id, claimed.attempt, frozenset(head.ids)))
            self._holding.take(tried[-1])
            return claimed

        notification: Notification | None = None
        try:
            # Without a limit: a claim that happens after its caller went would hold up the incident.
            # In turn where replicas share a limit, or each of them would find the last message free.
            notification = self._database.write(operation, seconds=None, in_turn=limit is not None)
            self._holding.freed(freed)
        finally:
            for claim in tried[: len(tried) - (notification is not None)]:
                self._holding.doubt(claim)
        return notification

    def lost(self, notification: Notification) -> None:
        """Nobody is sending it any more, unless it is settled already: the next claim gives it out again."""
        self._holding.lose(notification)

    def delivered(self, notification: Notification, memory: Memory) -> None:
        """The receiver has it, and its notifier remembers that of the incident."""

        def operation(connection: Connection) -> None:
            if not claiming.finish(connection, self._clock(), notification, self.replica, DELIVERED):
                return
            if notification.summary is not None:
                over = [one.group.incident for one in notification.summary.ended]
                claiming.remember(connection, notification.receiver, over, {})
            elif notification.memory or memory:
                claiming.remember(connection, notification.receiver, [notification.group.incident], memory)

        self._settle(notification, operation)

    def given_up(
        self, notification: Notification, reason: str, progress: Memory | None = None, memory: Memory | None = None
    ) -> tuple[str, ...]:
        """A dead letter: kept for a person, and no longer in the way of those after it.

        Returns who is told instead.
        """
        fallback = self._terms.fallback(notification.receiver)

        def operation(connection: Connection) -> tuple[str, ...]:
            now = self._clock()
            finished = claiming.finish(connection, now, notification, self.replica, DEAD, reason, progress)
            if finished and memory is not None and notification.summary is None:
                claiming.remember(connection, notification.receiver, [notification.group.incident], memory)
            told: dict[str, None] = {}
            for dead in finished:
                for due in audience.instead(connection, notification.receiver, dead, fallback):
                    queueing.enqueue(connection, now, self._terms, due)
                    told[due.receiver] = None
            return tuple(told)

        return self._settle(notification, operation)

    def postponed(self, notification: Notification, due_at: float, reason: str, progress: Memory | None = None) -> None:
        """Another try at `due_at`, which is told of the `progress`; those after it wait as long."""

        def operation(connection: Connection) -> None:
            told = summaries.incidents(connection, notification)
            if claiming.let_go(connection, notification, self.replica, reason, progress):
                queueing.postpone(connection, notification.receiver, told, due_at)
                facts = claiming.facts(notification) | {"dueAt": due_at, "error": reason}
                events.record(connection, self._clock(), "pending", **facts)

        self._settle(notification, operation)

    def retry(self, notification_id: int) -> State | None:
        """Make a waiting, muted or given-up notification due now; returns the state it had, None if there is none such.

        One already delivered stays as it is. Raises Outdated for one after which its receiver would believe what is no
        longer so, with nothing to come that puts it right.
        """

        def operation(connection: Connection) -> State | Outdated | None:
            this = notifications.c.id == notification_id
            table = notifications.c
            columns = (table.state, table.receiver, table.incident, table.finished_at)
            row = connection.execute(select(*columns).where(this)).one_or_none()
            if row is None:
                return None
            now = self._clock()
            if row.state == DEAD or (row.state == MUTED and row.finished_at is None):
                changed = audience.changed_since(connection, notification_id)
                if changed:
                    return Outdated(
                        f"notification {notification_id} is no longer so: {', '.join(changed)} changed since; "
                        "what Alertmanager says now was told, or will be, by later notifications"
                    )
                again = {
                    "state": PENDING,
                    "attempts": 0,
                    "give_up_at": now + self._terms.patience(row.receiver),
                    "finished_at": None,
                    "summary": None,  # by itself now
                }
                connection.execute(update(notifications).where(this).values(again))
            if row.state != DELIVERED:
                queueing.postpone(connection, row.receiver, [row.incident], now)
                facts = {"notificationId": notification_id, "receiver": row.receiver, "incident": row.incident}
                events.record(connection, now, "pending", **facts, dueAt=now)
            state: State = row.state
            return state

        result = self._database.write(operation)
        if isinstance(result, Outdated):
            raise result
        return result

    def next_due(self, receiver: str, after: float) -> float | None:
        """When the first notification falls due that is not due at `after`, or the rate limit has room again, if that
        is sooner; None if neither is to come.
        """
        limit = self._terms.limit(receiver)
        with self._database.read() as connection:
            moments = [connection.scalar(_NEXT_DUE, {"receiver": receiver, "after": after})]
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
                    queueing.mute(connection, now, due)
                else:
                    queueing.enqueue(connection, now, self._terms, due)
                    told[due.receiver] = None
            return tuple(told)

        return self._database.write(operation)

    def hurry(self, longest: float) -> tuple[str, ...]:
        """Make due now what is put off for more than `longest` seconds, since the clock was set back.

        Returns the receivers.
        """

        def operation(connection: Connection) -> tuple[str, ...]:
            now = self._clock()
            late = pending(notifications), notifications.c.due_at > now + longest
            hurried = update(notifications).where(*late).values(due_at=now).returning(notifications.c.receiver)
            return tuple(dict.fromkeys(connection.scalars(hurried)))

        return self._database.write(operation)

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

    def _settle(self, notification: Notification, operation: Callable[[Connection], T]) -> T:
        result = self._database.write(operation)
        self._holding.settle(notification)
        return result


_NEXT_DUE = select(func.min(notifications.c.due_at)).where(
    pending(notifications),
    notifications.c.receiver == bindparam("receiver"),
    notifications.c.due_at > bindparam("after"),
)
