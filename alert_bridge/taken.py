"""Who hears that an alert was taken, and what is taken and no longer spoken of, within the outbox' transactions."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, Row, exists, func, select

from alert_bridge import audience
from alert_bridge.notifier import Ack
from alert_bridge.queueing import Due
from alert_bridge.schema import FIRING, MUTED, acks, alerts, firing, groups, notifications
from alert_bridge.webhook import AlertGroup


def hearers(connection: Connection, now: float, fingerprint: str) -> list[tuple[Due, bool]]:
    """Everyone who was told that this alert fires, and not that it ended, in each of its incidents.

    With each, whether nothing else that fires there is left untaken.
    """
    latest = (
        select(func.max(alerts.c.id))
        .join(groups)
        .where(alerts.c.fingerprint == fingerprint)
        .group_by(groups.c.incident)
    )
    columns = (alerts.c.id, alerts.c.group_id, alerts.c.status, groups.c.incident)
    found: list[tuple[Due, bool]] = []
    for row in connection.execute(select(*columns).join(groups).where(alerts.c.id.in_(latest))).all():
        if row.status != FIRING:
            continue
        of_group = alerts.c.group_id == row.group_id
        position = connection.execute(select(func.count()).where(of_group, alerts.c.id < row.id)).scalar_one()
        whole = _others_untaken(connection, now, row) == 0
        sent = select(notifications.c.receiver, notifications.c.positions).where(
            notifications.c.group_id == row.group_id, notifications.c.ack.is_(None), notifications.c.state != MUTED
        )
        mine = [r for r, p in connection.execute(sent).all() if position in msgspec.json.decode(p)]
        found += [(Due(row.group_id, [position], name, row.incident), whole) for name in dict.fromkeys(mine)]
    return found


def completed(connection: Connection, now: float, receiver: str, group: AlertGroup) -> AlertGroup:
    """The group, and not over while taken alerts of its incident, of which the receiver was told, still fire.

    Alertmanager keeps quiet about what is silenced: its last group may say that all ended. Those count as left out.
    """
    if not group.over:
        return group
    held = exists().where(acks.c.fingerprint == firing.c.fingerprint, acks.c.until > now, acks.c.undone_at.is_(None))
    fires = select(firing.c.fingerprint).where(firing.c.incident == group.incident, held)
    others = set(connection.scalars(fires)) - {alert.fingerprint for alert in group.alerts}
    if not others:
        return group
    told = audience.last_told(connection, group.incident, receiver)
    left_out = sum(name in told and told[name].firing for name in others)
    return msgspec.structs.replace(group, truncated_alerts=left_out)


def encoded(ack: Ack, *, whole: bool) -> str:
    """As it is kept."""
    return msgspec.json.encode(msgspec.structs.replace(ack, whole=whole)).decode()


def _others_untaken(connection: Connection, now: float, row: Row[int, int, str, str]) -> int:
    taken = exists().where(acks.c.fingerprint == alerts.c.fingerprint, acks.c.until > now, acks.c.undone_at.is_(None))
    others = alerts.c.group_id == row.group_id, alerts.c.status == FIRING, alerts.c.id != row.id, ~taken
    return connection.execute(select(func.count()).where(*others)).scalar_one()
