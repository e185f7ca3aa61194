"""How a group is kept, and when it tells nothing new. Functions within a transaction of the outbox."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, func, insert, select

from alert_bridge.schema import FIRING, RESOLVED, alerts, groups
from alert_bridge.webhook import Alert, AlertGroup


def told_already(connection: Connection, now: float, repeat_after: float, group: AlertGroup, key: str) -> int | None:
    """The id of an equal group (its `key`) that is fresh, and that nothing has contradicted since; None without."""
    # Bounded on both sides: after a clock that was set back, "stored in the future" is not fresh for days.
    earliest, latest = now - repeat_after, now + repeat_after
    known: int | None = connection.scalar(_FRESH, {"key": key, "earliest": earliest, "latest": latest})
    return None if known is None or _contradicted(connection, known, group) else known


def keep(connection: Connection, now: float, group: AlertGroup, key: str, frame: str, bodies: Sequence[str]) -> int:
    """Store the group, as webhook.split took it apart; returns its id."""
    incident = group.incident
    row = {"key": key, "incident": incident, "status": group.status, "stored_at": now, "body": frame}
    group_id: int = connection.execute(_GROUP, row).scalar_one()
    connection.execute(
        _ALERTS,
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
    return group_id


def _contradicted(connection: Connection, known: int, group: AlertGroup) -> bool:
    """Whether something else was stored since about an alert of this group: then it is news again.

    An alert that comes back within `repeat_after` with the start that it had (Prometheus was away for a while) must
    not stay resolved in people's eyes, though the same was told before.
    """
    now = {alert.fingerprint: _status(alert) for alert in group.alerts}
    last = select(func.max(alerts.c.id)).where(alerts.c.group_id == known).scalar_subquery()
    since = select(alerts.c.fingerprint, alerts.c.status).where(alerts.c.incident == group.incident, alerts.c.id > last)
    return any(now.get(row.fingerprint, row.status) != row.status for row in connection.execute(since))


def _status(alert: Alert) -> str:
    return FIRING if alert.firing else RESOLVED


_FRESH = (
    select(groups.c.id)
    .where(
        groups.c.key == bindparam("key"),
        groups.c.stored_at > bindparam("earliest"),
        groups.c.stored_at < bindparam("latest"),
    )
    .order_by(groups.c.id.desc())
    .limit(1)
)
_GROUP = insert(groups).returning(groups.c.id)
_ALERTS = insert(alerts)
