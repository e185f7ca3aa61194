"""What arrived and what was sent, newest first, page by page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, Select, Table, bindparam, func, select

from alert_bridge.database import Database
from alert_bridge.schema import (
    DEAD,
    FIRING,
    MUTED,
    PENDING,
    alerts,
    dismissals,
    firing,
    groups,
    notifications,
    unfinished,
)
from cloudpulse import trace

ALERT_FILTERS: Mapping[str, ColumnElement[str]] = {
    "status": alerts.c.status,
    "alertname": alerts.c.alertname,
    "fingerprint": alerts.c.fingerprint,
    "incident": alerts.c.incident,
}
CURRENT_FILTERS = {name: firing.c[name] for name in ("alertname", "fingerprint", "incident")}
NOTIFICATION_FILTERS: Mapping[str, ColumnElement[str]] = {
    "state": notifications.c.state,
    "receiver": notifications.c.receiver,
    "incident": notifications.c.incident,
}


DISMISSAL_FILTERS: Mapping[str, ColumnElement[str]] = {
    "verdict": dismissals.c.verdict,
    "fingerprint": dismissals.c.fingerprint,
}


@dataclass(frozen=True)
class Period:
    """When it was stored: from `since` on and before `until` (Unix seconds); None is open."""

    since: float | None = None
    until: float | None = None


EVER = Period()


@dataclass(frozen=True)
class Page:
    """Some entries, ready for JSON, and the id to ask for those before; None on the last page."""

    entries: list[dict[str, object]]
    before: int | None


class History:
    """Reads only. Pages stay stable while new entries come, since each says below which id it starts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def alerts(
        self,
        filters: Mapping[str, str],
        before: int | None,
        limit: int,
        period: Period = EVER,
        *,
        current: bool = False,
    ) -> Page:
        """Alerts as they came, one entry for each time Alertmanager told of one; `filters` by ALERT_FILTERS.

        `current`: only those that fire, as last told.
        """
        columns = (alerts.c.id, alerts.c.group_id, alerts.c.incident, alerts.c.stored_at, alerts.c.body)
        if not current:
            return self._page(
                _where(select(*columns), ALERT_FILTERS, filters), alerts, period, before, limit, alert_entry
            )
        if filters.get("status", FIRING) != FIRING:
            return Page([], None)
        joined = select(*columns).select_from(firing.join(alerts, alerts.c.id == firing.c.alert_id))
        query = _where(
            joined, CURRENT_FILTERS, {name: filters[name] for name in filters.keys() & CURRENT_FILTERS.keys()}
        )
        return self._page(query, alerts, period, before, limit, alert_entry, key=firing.c.alert_id)

    def notifications(self, filters: Mapping[str, str], before: int | None, limit: int, period: Period = EVER) -> Page:
        """Notifications and what became of them; `filters` by NOTIFICATION_FILTERS."""
        query = _where(select(notifications, groups.c.status).join(groups), NOTIFICATION_FILTERS, filters)
        if "receiver" in filters and filters.get("state") in (PENDING, DEAD):
            query = query.where(unfinished(notifications))  # says nothing new, but lets an index be used
        return self._page(query, notifications, period, before, limit, notification_entry)

    def dismissals(self, filters: Mapping[str, str], before: int | None, limit: int, period: Period = EVER) -> Page:
        """What people said of alerts; `filters` by DISMISSAL_FILTERS."""
        joined = dismissals.outerjoin(alerts, alerts.c.id == dismissals.c.alert_id)
        query = _where(select(dismissals, alerts.c.body).select_from(joined), DISMISSAL_FILTERS, filters)
        return self._page(query, dismissals, period, before, limit, dismissal_entry)

    def notification(self, notification_id: int) -> dict[str, object] | None:
        """One notification with the alerts that it tells of; None if there is none such."""
        query = select(notifications, groups.c.status).join(groups).where(notifications.c.id == notification_id)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
            if row is None:
                return None
            told = select(alerts.c.body).where(alerts.c.group_id == row.group_id).order_by(alerts.c.id)
            bodies = connection.scalars(told).all()
        mine = [_told(bodies[position]) for position in msgspec.json.decode(row.positions, type=list[int])]
        return {**notification_entry(row), "alerts": mine}

    def _page(
        self,
        query: Select[Any],
        table: Table,
        period: Period,
        before: int | None,
        limit: int,
        show: Callable[[Row[Any]], dict[str, object]],
        key: ColumnElement[int] | None = None,
    ) -> Page:
        key = table.c.id if key is None else key
        if before is not None:
            query = query.where(key < before)
        with self._database.read() as connection:
            if period.since is not None:
                query = query.where(key >= _first_since(connection, table, period.since))
            if period.until is not None:
                query = query.where(key < _first_since(connection, table, period.until))
            rows = connection.execute(query.order_by(key.desc()).limit(limit + 1)).all()
        more = len(rows) > limit
        return Page([show(row) for row in rows[:limit]], rows[limit - 1].id if more else None)


def _where(query: Select[Any], columns: Mapping[str, ColumnElement[str]], filters: Mapping[str, str]) -> Select[Any]:
    return query.where(*(columns[name] == value for name, value in filters.items()))


def _first_since(connection: Connection, table: Table, moment: float) -> int:
    """The first id stored at that moment or later. Ids rise with time, so it needs no index: a few rows are looked at.

    Where a clock was set back, what it doubled may be on either side.
    """
    at = table.c.at if table is dismissals else table.c.stored_at
    low, high = 0, connection.scalar(select(func.max(table.c.id))) or 0
    following = select(table.c.id, at).where(table.c.id > bindparam("middle")).order_by(table.c.id).limit(1)
    while low < high:
        middle = (low + high) // 2
        row_id, stored_at = connection.execute(following, {"middle": middle}).one()
        if stored_at < moment:
            low = row_id
        else:
            high = middle
    return low + 1


def alert_entry(row: Row[Any]) -> dict[str, object]:
    """For JSON, as shapes.AlertEntry; of a row of `alerts` with its `incident`."""
    return {
        "id": row.id,
        "groupId": row.group_id,
        "incident": row.incident,
        "storedAt": moment(row.stored_at),
        **_told(row.body),
    }


def notification_entry(row: Row[Any]) -> dict[str, object]:
    """For JSON, as shapes.NotificationEntry; of a row of `notifications` with its group's `status`."""
    return {
        "id": row.id,
        "groupId": row.group_id,
        "incident": row.incident,
        "receiver": row.receiver,
        "status": row.status,
        "state": row.state,
        "attempts": row.attempts,
        "ack": row.ack is not None,
        "summary": row.summary,
        "insteadOf": row.instead_of,
        "idempotencyKey": row.idempotency_key,
        "storedAt": moment(row.stored_at),
        "dueAt": moment(row.due_at) if row.state in (PENDING, MUTED) and row.finished_at is None else None,
        "finishedAt": moment(row.finished_at),
        "lastError": row.last_error,
        "traceId": None if (place := trace.restored(row.trace)) is None else place.trace_id,
    }


def dismissal_entry(row: Row[Any]) -> dict[str, object]:
    """For JSON, as shapes.Dismissal; of a row of `dismissals` with the alert's `body`."""
    return {
        "id": row.id,
        "fingerprint": row.fingerprint,
        "alertId": row.alert_id,
        "labels": {} if row.body is None else _told(row.body)["labels"],
        "verdict": row.verdict,
        "comment": row.comment,
        "by": row.by,
        "at": moment(row.at),
    }


def moment(seconds: float | None) -> str | None:
    """ISO 8601 in UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()


def _told(body: str) -> dict[str, object]:
    return msgspec.json.decode(body, type=dict[str, object])
