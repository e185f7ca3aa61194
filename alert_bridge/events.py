"""What happened, in order: every change of an alert, a delivery or an ack leaves one event in the same transaction."""

from __future__ import annotations

from typing import Literal

import msgspec
from sqlalchemy import Connection, insert

from alert_bridge.schema import events

Kind = Literal["alerts", "pending", "delivered", "dead", "acked", "ack_undone", "dismissed"]


def record(connection: Connection, at: float, kind: Kind, **body: object) -> None:
    """Add an event, within the transaction of what it tells of."""
    connection.execute(insert(events).values(at=at, kind=kind, body=msgspec.json.encode(body).decode()))
