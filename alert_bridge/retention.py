"""What is kept and for how long: finished things go after `retention`, or earlier when there are too many.

Never goes what still waits, a dead letter within the retention, or the last word on an incident that still fires: that
of Alertmanager, and to each receiver, which is to hear the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, or_, select

from alert_bridge.database import Database
from alert_bridge.schema import DEAD, FIRING, MUTED, acks, alerts, events, groups, memories, notifications
from cloudpulse import logs
from cloudpulse.clock import Clock
from cloudpulse.errors import StoreError

STEP_GROUPS = 50
STEP_ALERTS = 500
STEP_EVENTS = 1000
"""About so many go in one transaction, since alerts that arrive wait for it."""

log = logs.get(__name__)


@dataclass(frozen=True)
class _Candidate:
    id: int
    alerts: int
    stored_at: float
    needed: bool


class _Frame(msgspec.Struct, rename="camel"):
    truncated_alerts: int = 0


class Retention:
    """Deletes in small steps. `stored` is how many alerts there were when last counted, None before.

    `prune` is called by one thread, the rest by any.
    """

    def __init__(self, database: Database, clock: Clock, *, seconds: float, max_alerts: int) -> None:
        self._database = database
        self._clock = clock
        self._seconds = seconds
        self.max_alerts = max_alerts
        self.stored: int | None = None

    def admit(self) -> None:
        """Raise StoreError while there are too many alerts and none of them may go."""
        if self.stored is not None and self.stored > self.max_alerts:
            raise StoreError(
                f"{self._database.name}: {self.stored} alerts are stored, more than max_stored_alerts "
                f"({self.max_alerts}), and none of them may be deleted: see what is pending, or raise the limit"
            )

    def prune(self) -> int:
        """Delete what may go; returns how many alerts went. Raises StoreError."""
        old = self._clock() - self._seconds
        with self._database.read() as connection:
            count = connection.execute(select(func.count()).select_from(alerts)).scalar_one()
        gone, cursor, swept = 0, 0, old
        while seen := self._step(cursor, old, count - gone - self.max_alerts):
            cursor = seen[-1].id
            if chosen := [one for one in seen if not one.needed]:
                gone += self._delete(chosen, old)
                swept = max(swept, chosen[-1].stored_at)
        self._sweep(swept)
        self.stored = count - gone
        if gone:
            log.info("old alerts deleted", count=gone, left=self.stored)
        return gone

    def _step(self, cursor: int, old: float, excess: int) -> list[_Candidate]:
        """The next few groups after `cursor`, as far as they are old, or `excess` alerts are too many."""
        step: list[_Candidate] = []
        taken = 0
        for one in self._candidates(cursor):
            if one.stored_at >= old and taken >= excess:
                break
            step.append(one)
            taken += 0 if one.needed else one.alerts
            if taken >= STEP_ALERTS:
                break
        return step

    def _candidates(self, cursor: int) -> list[_Candidate]:
        later = groups.alias("later")
        of_group = alerts.c.group_id == groups.c.id
        columns = (
            groups.c.id,
            groups.c.stored_at,
            groups.c.body,
            (~exists().where(later.c.incident == groups.c.incident, later.c.id > groups.c.id)).label("latest"),
            exists().where(of_group, alerts.c.status == FIRING).label("fires"),
            _last_to_someone().label("last_told"),
            select(func.count()).where(of_group).scalar_subquery().label("alerts"),
        )
        with self._database.read() as connection:
            rows = connection.execute(
                select(*columns).where(groups.c.id > cursor).order_by(groups.c.id).limit(STEP_GROUPS)
            ).all()
        return [
            _Candidate(
                row.id,
                row.alerts,
                row.stored_at,
                bool(row.fires and row.last_told) or (bool(row.latest) and (bool(row.fires) or _truncated(row.body))),
            )
            for row in rows
        ]

    def _delete(self, chosen: Sequence[_Candidate], old: float) -> int:
        # Asked again here: a dead letter may have been made pending since.
        waits = or_(
            notifications.c.finished_at.is_(None),
            and_(notifications.c.state == DEAD, notifications.c.finished_at >= old),
        )
        kept = exists().where(notifications.c.group_id == groups.c.id, waits)

        def operation(connection: Connection) -> int:
            free = select(groups.c.id).where(groups.c.id.in_([one.id for one in chosen]), ~kept)
            ids = connection.scalars(free).all()
            deleted = connection.execute(delete(alerts).where(alerts.c.group_id.in_(ids))).rowcount
            connection.execute(delete(notifications).where(notifications.c.group_id.in_(ids)))
            connection.execute(delete(groups).where(groups.c.id.in_(ids)))
            return deleted

        return self._database.write(operation)

    def _sweep(self, before: float) -> None:
        """What belongs to what went: events, acks that have ended, memories of incidents that nothing tells of."""
        lowest = select(events.c.id).order_by(events.c.id).limit(STEP_EVENTS).subquery()
        some = delete(events).where(events.c.id.in_(select(lowest.c.id)), events.c.at < before)
        while self._database.write(lambda connection: connection.execute(some).rowcount) == STEP_EVENTS:
            pass
        ended = delete(acks).where(acks.c.until < before)
        unknown = delete(memories).where(~exists().where(groups.c.incident == memories.c.incident))

        def operation(connection: Connection) -> None:
            connection.execute(ended)
            connection.execute(unknown)

        self._database.write(operation)


def _last_to_someone() -> ColumnElement[bool]:
    """Whether a receiver was told of the group, of nothing later in its incident, and the incident still fires."""
    told, since, newer = notifications.alias("told"), notifications.alias("since"), groups.alias("newer")
    heard = exists().where(
        since.c.incident == told.c.incident,
        since.c.receiver == told.c.receiver,
        since.c.id > told.c.id,
        since.c.state != MUTED,
        since.c.ack.is_(None),
    )
    newest = select(func.max(newer.c.id)).where(newer.c.incident == groups.c.incident).scalar_subquery()
    return and_(
        exists().where(told.c.group_id == groups.c.id, told.c.state != MUTED, ~heard),
        exists().where(alerts.c.group_id == newest, alerts.c.status == FIRING),
    )


def _truncated(frame: str) -> bool:
    return msgspec.json.decode(frame, type=_Frame).truncated_alerts > 0
