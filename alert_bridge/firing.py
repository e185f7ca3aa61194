"""What fires now, as last told: for each alert of an incident the row that told so, kept up as groups are stored.

The table makes that a short look at any size of the history; what fires is few beside it.
"""

from __future__ import annotations

from sqlalchemy import Connection, delete, func, insert, select

from alert_bridge.schema import FIRING, alerts, firing


def keep(connection: Connection, group_id: int, incident: str) -> None:
    """Take over what this group tells, in the transaction that stores it. Alerts that it leaves out stay as they were.

    Alertmanager leaves out what is silenced, which an acked alert is, and with `max_alerts` whatever is too many.
    """
    told = alerts.c.group_id == group_id
    known = firing.c.incident == incident, firing.c.fingerprint.in_(select(alerts.c.fingerprint).where(told))
    connection.execute(delete(firing).where(*known))
    last = select(func.max(alerts.c.id)).where(told).group_by(alerts.c.fingerprint)  # one may be in a body twice
    columns = [alerts.c.incident, alerts.c.fingerprint, alerts.c.alertname, alerts.c.id]
    fires = select(*columns).where(alerts.c.id.in_(last), alerts.c.status == FIRING)
    connection.execute(insert(firing).from_select(["incident", "fingerprint", "alertname", "alert_id"], fires))
