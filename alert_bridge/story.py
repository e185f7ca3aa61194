"""One alert's story: what was told of it, to whom, when, and who took it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, func, select

from alert_bridge.database import Database
from alert_bridge.history import alert_entry, dismissal_entry, moment, notification_entry
from alert_bridge.schema import acks, alerts, dismissals, firing, groups, notifications
from cloudpulse.clock import Clock

MOST = 100


@dataclass(frozen=True)
class Standing:
    """How one alert stands now; `taken` is the row of the ack that holds."""

    firing: bool
    taken: Row[Any] | None


class Stories:
    """Reads them. For several threads."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def of(self, fingerprint: str) -> dict[str, object] | None:
        """For JSON, as shapes.AlertStory; None for an alert that was never told of."""
        with self._database.read() as connection:
            told = _told(connection, fingerprint)
            if not told:
                return None
            fires, sent = _fires(connection, fingerprint), _sent(connection, told)
            taken = _newest(connection, acks, fingerprint)
            verdicts = connection.execute(
                select(dismissals, alerts.c.body)
                .select_from(dismissals.outerjoin(alerts, alerts.c.id == dismissals.c.alert_id))
                .where(dismissals.c.fingerprint == fingerprint)
                .order_by(dismissals.c.id.desc())
                .limit(MOST)
            ).all()
        return {
            "fingerprint": fingerprint,
            "firing": fires,
            "taken": None if (held := self._held(taken)) is None else _ack_entry(held),
            "told": [alert_entry(row) for row in told],
            "notifications": [notification_entry(row) for row in sent],
            "acks": [_ack_entry(row) for row in taken],
            "verdicts": [dismissal_entry(row) for row in verdicts],
        }

    def last(self, fingerprint: str) -> dict[str, object] | None:
        """The alert as last told, for JSON, as shapes.AlertEntry."""
        with self._database.read() as connection:
            told = _told(connection, fingerprint, most=1)
        return alert_entry(told[0]) if told else None

    def standing(self, fingerprint: str) -> Standing:
        """How the alert stands; one that was never told of doesn't fire."""
        with self._database.read() as connection:
            return Standing(_fires(connection, fingerprint), self._held(_newest(connection, acks, fingerprint)))

    def _held(self, rows: list[Row[Any]]) -> Row[Any] | None:
        now = self._clock()
        return next((row for row in rows if row.until > now and row.undone_at is None), None)


def _fires(connection: Connection, fingerprint: str) -> bool:
    """In any incident: each hears of an alert's end at its own time."""
    return connection.scalar(select(firing.c.alert_id).where(firing.c.fingerprint == fingerprint).limit(1)) is not None


def _told(connection: Connection, fingerprint: str, most: int = MOST) -> list[Row[Any]]:
    query = select(alerts, groups.c.incident).join(groups).where(alerts.c.fingerprint == fingerprint)
    return list(connection.execute(query.order_by(alerts.c.id.desc()).limit(most)))


def _sent(connection: Connection, told: list[Row[Any]]) -> list[Row[Any]]:
    """What went out of the groups that these alerts came in, where it told of them."""
    before = alerts.alias("before")
    position = (
        select(func.count()).where(before.c.group_id == alerts.c.group_id, before.c.id < alerts.c.id).scalar_subquery()
    )
    mine = alerts.c.id.in_([row.id for row in told])
    positions = {
        (row.group_id, row.position)
        for row in connection.execute(select(alerts.c.group_id, position.label("position")).where(mine))
    }
    query = select(notifications, groups.c.status).join(groups)
    of_groups = notifications.c.group_id.in_([row.group_id for row in told])
    rows = connection.execute(query.where(of_groups).order_by(notifications.c.id.desc()))
    return [
        row
        for row in rows
        if any((row.group_id, p) in positions for p in msgspec.json.decode(row.positions, type=list[int]))
    ][:MOST]


def _newest(connection: Connection, table: Any, fingerprint: str) -> list[Row[Any]]:
    query = select(table).where(table.c.fingerprint == fingerprint).order_by(table.c.id.desc()).limit(MOST)
    return list(connection.execute(query))


def _ack_entry(row: Row[Any]) -> dict[str, object]:
    return {
        "silence": row.silence,
        "by": row.by,
        "comment": row.comment,
        "at": moment(row.at),
        "until": moment(row.until),
        "undoneAt": moment(row.undone_at),
    }
