"""What happened, in order: every change of an alert, a delivery or an ack leaves one event in the same transaction."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

import msgspec
from sqlalchemy import Connection, func, insert, select, text

from alert_bridge.schema import events
from cloudpulse import logs

Kind = Literal["alerts", "pending", "delivered", "dead", "acked", "ack_undone", "dismissed"]
KINDS: tuple[Kind, ...] = get_args(Kind)

DOUBT_SECONDS = 10
"""How long an event that a later one has overtaken is waited for; longer than any transaction of ours takes."""

log = logs.get(__name__)


@dataclass(frozen=True)
class Event:
    """One row: `at` in Unix seconds, `body` as recorded (JSON)."""

    id: int
    at: float
    kind: Kind
    body: str


def record(connection: Connection, at: float, kind: Kind, **body: object) -> None:
    """Add an event, within the transaction of what it tells of and after its first change."""
    connection.execute(insert(events).values(at=at, kind=kind, body=msgspec.json.encode(body).decode()))


def read(
    connection: Connection, after: int, limit: int, upto: int | None = None, kinds: Collection[str] = KINDS
) -> list[Event]:
    """The next events after an id, in order."""
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


class Frontier:
    """Follows the events as they are stored, in the order of their ids, each once; used by one thread.

    PostgreSQL gives ids out before the commit, so that 7 may be there before 6. Where one is missing, the frontier
    waits until every transaction is over that could have taken it: all whose number is below one that is given out
    now, since a transaction has its number before its first event has an id (`record`).
    """

    def __init__(self) -> None:
        self.last: int | None = None
        self._doubt: _Doubt | None = None

    @property
    def waits(self) -> bool:
        """Whether `advance` held something back that it will give soon."""
        return self.last is None or self._doubt is not None

    def reset(self) -> None:
        """Forget everything: what is stored by the next `advance` is past."""
        self.last = self._doubt = None

    def advance(self, connection: Connection, limit: int) -> list[Event]:
        """The events since; none as long as `last` is None, since it isn't sure yet what is past."""
        if self.last is None:
            self._doubt = self._doubt or _doubt(connection, bounds(connection)[1])
            if _settled(connection, self._doubt):
                self.last, self._doubt = self._doubt.id, None
            return []
        settled = self._doubt is not None and _settled(connection, self._doubt)
        certain = self._doubt.id if self._doubt is not None and settled else self.last
        found = read(connection, self.last, limit)
        taken = []
        for event in found:
            if event.id > certain and event.id != self.last + 1:
                break
            taken.append(event)
            self.last = event.id
        if len(taken) == len(found):
            self._doubt = None
        elif self._doubt is None or settled:
            self._doubt = _doubt(connection, found[-1].id)
        return taken


@dataclass(frozen=True)
class _Doubt:
    """Up to `id` an event may be missing until all transactions with a number below `until` are over."""

    id: int
    until: int
    since: float


def _doubt(connection: Connection, upto: int) -> _Doubt:
    until = 0
    if connection.dialect.name == "postgresql":
        until = connection.execute(text("SELECT pg_current_xact_id()::text::bigint")).scalar_one()
    return _Doubt(upto, until, time.monotonic())


def _settled(connection: Connection, doubt: _Doubt) -> bool:
    """To be asked before the events are read, so that what was committed in between is seen."""
    if connection.dialect.name != "postgresql":
        return True
    oldest = connection.execute(text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")).scalar_one()
    if oldest > doubt.until:
        return True
    late = time.monotonic() - doubt.since > DOUBT_SECONDS
    if late:
        log.warning("an old transaction holds up the stream: no longer waited for", transaction=oldest)
    return late
