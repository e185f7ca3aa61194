"""Which bridge processes share the outbox. One that stands still for long is given up, and what it was sending freed.

No clock is compared with another machine's: each replica counts up its own beats, and watches by its own beats whether
the others still count. While the database is away nobody beats, so nobody is given up for that.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, delete, exists, insert, select, update

from alert_bridge.database import Database
from alert_bridge.outbox import Outbox
from alert_bridge.schema import claimed, notifications, pending, replicas

LEAVE_SECONDS = 1
"""How long the end waits for a database that may be away: the others notice it anyway."""

SILENT_BEATS = 6
"""Beats of ours without one of another, after which it is given up."""


@dataclass(frozen=True)
class Change:
    """What a beat found: how many replicas ended, and how many notifications changed to the heir."""

    ended: int
    inherited: int


@dataclass(frozen=True)
class _Seen:
    beats: int
    silent: int


class Replicas:
    """This process among those that share the outbox; `beat` by one thread. Raises StoreError.

    `receivers` are those of this process' config. What waits for one that no living replica's config has goes to
    `heir`, rather than nowhere.
    """

    def __init__(self, database: Database, outbox: Outbox, receivers: Sequence[str], heir: str) -> None:
        self._database = database
        self._outbox = outbox
        self._seen: Mapping[str, _Seen] = {}
        self.configure(receivers, heir)

    def configure(self, receivers: Sequence[str], heir: str) -> None:
        """From the next beat on."""
        self._receivers = tuple(receivers)
        self._heir = heir

    def beat(self) -> Change:
        """Say that this one lives, and take over from those that don't. The first time before any claim."""
        others = self._database.write(lambda connection: self._show(connection, beats=1))
        before = self._seen
        self._seen = {name: _followed(before.get(name), beats) for name, beats in others.items()}
        # Where the database isn't shared, opening it has proved that nobody else lives.
        limit = SILENT_BEATS if self._database.shared else 0
        silent = {name: seen.beats for name, seen in self._seen.items() if seen.silent >= limit}
        inherited = self._database.write(lambda connection: self._take_over(connection, silent))
        return Change(len(silent) + len(before.keys() - others.keys()), inherited)

    def change(self, receivers: Sequence[str], heir: str) -> int:
        """These are the receivers from now on; returns how much the heir got for that. By any thread."""
        self._receivers, self._heir = tuple(receivers), heir

        def operation(connection: Connection) -> int:
            self._show(connection, beats=0)
            return self._take_over(connection, {})

        return self._database.write(operation)

    def leave(self) -> None:
        """Say goodbye, so that the others take over at once; but not while something is under way from here."""
        if self._outbox.held:
            return
        mine = replicas.c.id == self._outbox.replica
        self._database.write(
            lambda connection: connection.execute(delete(replicas).where(mine)).rowcount, seconds=LEAVE_SECONDS
        )

    def _show(self, connection: Connection, beats: int) -> dict[str, int]:
        mine = replicas.c.id == self._outbox.replica
        told = msgspec.json.encode(self._receivers).decode()
        shown = {"beats": replicas.c.beats + beats, "receivers": told}
        if not connection.execute(update(replicas).where(mine).values(shown)).rowcount:
            connection.execute(insert(replicas).values(id=self._outbox.replica, beats=0, receivers=told))
        others = select(replicas.c.id, replicas.c.beats).where(~mine)
        return {row.id: row.beats for row in connection.execute(others)}

    def _take_over(self, connection: Connection, silent: Mapping[str, int]) -> int:
        for name, beats in silent.items():
            # One that has beaten since we looked stays.
            connection.execute(delete(replicas).where(replicas.c.id == name, replicas.c.beats == beats))
        living = connection.execute(select(replicas.c.id, replicas.c.receivers)).all()
        abandoned = notifications.c.claimed_by.not_in([row.id for row in living])
        connection.execute(update(notifications).where(claimed(notifications), abandoned).values(claimed_by=None))
        known = {receiver for row in living for receiver in msgspec.json.decode(row.receivers, type=list[str])}
        return connection.execute(update(notifications).where(_orphaned(known)).values(receiver=self._heir)).rowcount


def _orphaned(known: Collection[str]) -> ColumnElement[bool]:
    """Not where something of the incident is under way: were that to fail, it would come after the later ones."""
    taken = notifications.alias("taken")
    under_way = exists().where(
        pending(taken),
        taken.c.receiver == notifications.c.receiver,
        taken.c.incident == notifications.c.incident,
        claimed(taken),
    )
    return and_(pending(notifications), notifications.c.receiver.not_in(known), ~under_way)


def _followed(before: _Seen | None, beats: int) -> _Seen:
    return _Seen(beats, before.silent + 1 if before is not None and before.beats == beats else 0)
