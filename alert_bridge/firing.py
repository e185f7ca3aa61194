"""What fires now, as last told: for each alert of an incident the row that told so, kept up as groups are stored.

The table makes that a short look at any size of the history; what fires is few beside it.
"""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, delete, func, insert, select

from alert_bridge.schema import FIRING, alerts, firing


def keep(connection: Connection, group_id: int, incident: str) -> None:
    """Take over what this group tells, in the transaction that stores it. Alerts that it leaves out stay as they were.

    Alertmanager leaves out what is silenced, which an acked alert is, and with `max_alerts` whatever is too many.
    """
    connection.execute(_FORGET, {"group": group_id, "of": incident})
    connection.execute(_TAKE_OVER, {"group": group_id})


_told = alerts.c.group_id == bindparam("group")
_FORGET = delete(firing).where(
    firing.c.incident == bindparam("of"), firing.c.fingerprint.in_(select(alerts.c.fingerprint).where(_told))
)
_last = select(func.max(alerts.c.id)).where(_told).group_by(alerts.c.fingerprint)  # one may be in a body twice
_TAKE_OVER = insert(firing).from_select(
    ["incident", "fingerprint", "alertname", "alert_id"],
    select(alerts.c.incident, alerts.c.fingerprint, alerts.c.alertname, alerts.c.id).where(
        alerts.c.id.in_(_last), alerts.c.status == FIRING
    ),
)
