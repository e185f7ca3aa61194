"""What people say that alerts were worth: kept as labels for later tuning."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from alert_bridge import events
from alert_bridge.acks import NotThere
from alert_bridge.database import Database
from alert_bridge.schema import alerts, dismissals
from cloudpulse.clock import Clock


@dataclass(frozen=True)
class Dismissals:
    """Records them. For several threads."""

    database: Database
    clock: Clock

    def record(self, fingerprint: str, verdict: str, by: str, comment: str) -> int:
        """Keep a verdict on the alert as last told; returns its id. Raises NotThere and StoreError."""

        def operation(connection: Connection) -> int | None:
            latest = select(alerts.c.id).where(alerts.c.fingerprint == fingerprint).order_by(alerts.c.id.desc())
            alert_id: int | None = connection.scalar(latest.limit(1))
            if alert_id is None:
                return None
            now = self.clock()
            row = {"fingerprint": fingerprint, "alert_id": alert_id, "verdict": verdict, "by": by, "comment": comment}
            added = insert(dismissals).values(row | {"at": now}).returning(dismissals.c.id)
            made: int = connection.execute(added).scalar_one()
            events.record(connection, now, "dismissed", fingerprint=fingerprint, verdict=verdict, by=by)
            return made

        made = self.database.write(operation)
        if made is None:
            raise NotThere(f"no alert with the fingerprint {fingerprint} has been told of")
        return made
