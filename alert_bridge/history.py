"""What arrived and what was sent, newest first, page by page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Row, Select, select

from alert_bridge.database import Database
from alert_bridge.schema import DEAD, PENDING, alerts, groups, notifications, unfinished

ALERT_FILTERS: Mapping[str, ColumnElement[str]] = {
    "status": alerts.c.status,
    "alertname": alerts.c.alertname,
    "fingerprint": alerts.c.fingerprint,
    "incident": alerts.c.incident,
}
NOTIFICATION_FILTERS: Mapping[str, ColumnElement[str]] = {
    "state": notifications.c.state,
    "receiver": notifications.c.receiver,
    "incident": notifications.c.incident,
}


@dataclass(frozen=True)
class Page:
    """Some entries, ready for JSON, and the id to ask for those before; None on the last page."""

    entries: list[dict[str, object]]
    before: int | None


class History:
    """Reads only. Pages stay stable while new entries come, since each says below which id it starts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def alerts(self, filters: Mapping[str, str], before: int | None, limit: int) -> Page:
        """Alerts as they came, one entry for each time Alertmanager told of one; `filters` by ALERT_FILTERS."""
        columns = (alerts.c.id, alerts.c.group_id, alerts.c.incident, alerts.c.stored_at, alerts.c.body)
        query = _where(select(*columns), ALERT_FILTERS, filters)
        return self._page(query, alerts.c.id, before, limit, _alert)

    def notifications(self, filters: Mapping[str, str], before: int | None, limit: int) -> Page:
        """Notifications and what became of them; `filters` by NOTIFICATION_FILTERS."""
        query = _where(select(notifications, groups.c.status).join(groups), NOTIFICATION_FILTERS, filters)
        if "receiver" in filters and filters.get("state") in (PENDING, DEAD):
            query = query.where(unfinished(notifications))  # says nothing new, but lets an index be used
        return self._page(query, notifications.c.id, before, limit, _notification)

    def _page(
        self,
        query: Select[Any],
        key: ColumnElement[int],
        before: int | None,
        limit: int,
        show: Callable[[Row[Any]], dict[str, object]],
    ) -> Page:
        if before is not None:
            query = query.where(key < before)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(key.desc()).limit(limit + 1)).all()
        more = len(rows) > limit
        return Page([show(row) for row in rows[:limit]], rows[limit - 1].id if more else None)


def _where(query: Select[Any], columns: Mapping[str, ColumnElement[str]], filters: Mapping[str, str]) -> Select[Any]:
    return query.where(*(columns[name] == value for name, value in filters.items()))


def _alert(row: Row[Any]) -> dict[str, object]:
    told = msgspec.json.decode(row.body, type=dict[str, object])
    return {
        "id": row.id,
        "groupId": row.group_id,
        "incident": row.incident,
        "storedAt": _moment(row.stored_at),
        **told,
    }


def _notification(row: Row[Any]) -> dict[str, object]:
    return {
        "id": row.id,
        "groupId": row.group_id,
        "incident": row.incident,
        "receiver": row.receiver,
        "status": row.status,
        "state": row.state,
        "attempts": row.attempts,
        "idempotencyKey": row.idempotency_key,
        "storedAt": _moment(row.stored_at),
        "dueAt": _moment(row.due_at) if row.state == PENDING else None,
        "finishedAt": _moment(row.finished_at),
        "lastError": row.last_error,
    }


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
