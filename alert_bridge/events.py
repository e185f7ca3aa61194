"""What happened, in order: every change of an alert, a delivery or an ack leaves one event in the same transaction."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

import msgspec
from sqlalchemy import Connection, func, insert, select

from alert_bridge.schema import events

Kind = Literal["alerts", "pending", "delivered", "dead", "acked", "ack_undone", "dismissed"]
KINDS: tuple[Kind, ...] = get_args(Kind)


_RECORD = insert(events)


@dataclass(frozen=True)
class Event:
    """One row: `at` in Unix seconds, `body` as recorded (JSON)."""

    id: int
    at: float
    kind: Kind
    body: str


def record(connection: Connection, at: float, kind: Kind, **body: object) -> None:
    """Add an event, within the transaction of what it tells of."""
    connection.execute(_RECORD, {"at": at, "kind": kind, "body": msgspec.json.encode(body).decode()})


def read(
    connection: Connection, after: int, limit: int, upto: int | None = None, kinds: Collection[str] = KINDS
) -> list[Event]:
    """The next events after an id, in order; none with a lower id than one of them can still come."""
    query = select(events.c.id, events.c.at, events.c.kind, events.c.body).where(events.c.id > after)
    if upto is not None:
        query = query.where(events.c.id <= upto)
    if len(kinds) < len(KINDS):
        query = query.where(events.c.kind.in_(kinds))
    return [Event(*row) for row in connection.execute(query.order_by(events.c.id).limit(limit))]


def bounds(connection: Connection) -> tuple[int, int]:
    """The first and the last id that are kept; (1, 0) without any."""
    first, last = connection.execute(select(func.min(events.c.id), func.max(events.c.id))).one()
    return first or 1, last or 0
