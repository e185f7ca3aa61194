"""What only one of several replicas does: who holds a duty does it, for as long as it keeps saying so."""

from __future__ import annotations

import time
import uuid

from sqlalchemy import Connection, insert, select, update

from alert_bridge.database import Database
from alert_bridge.schema import duties
from cloudpulse.clock import Clock


class Duty:
    """A row in the database, whose holder counts it up. Used by one thread.

    Another replica takes it over when it hasn't seen it counted for `seconds` by its own `clock`: no clock is compared
    with another machine's.
    """

    def __init__(self, database: Database, name: str, seconds: float, clock: Clock = time.monotonic) -> None:
        self._database = database
        self._name = name
        self._seconds = seconds
        self._clock = clock
        self._me = uuid.uuid4().hex
        self._seen: tuple[str, int] | None = None
        self._seen_at = clock()

    def mine(self) -> bool:
        """Take or keep it, if nobody else has it. Raises StoreError."""
        held = self._database.write(self._look)
        if held[0] == self._me:
            return True
        if held != self._seen:
            self._seen, self._seen_at = held, self._clock()
        elif self._clock() - self._seen_at > self._seconds:
            return self._database.write(lambda connection: self._count(connection, held))
        return False

    def _look(self, connection: Connection) -> tuple[str, int]:
        """Who has it and their count, which goes on if that is us; ours if it is nobody's."""
        this = select(duties.c.holder, duties.c.beats).where(duties.c.name == self._name)
        row = connection.execute(this).one_or_none()
        if row is None:
            connection.execute(insert(duties).values(name=self._name, holder=self._me, beats=0))
            return self._me, 0
        held = (str(row.holder), int(row.beats))
        if held[0] == self._me and not self._count(connection, held):
            return "", 0  # taken over in this moment
        return held

    def _count(self, connection: Connection, held: tuple[str, int]) -> bool:
        """Say that it is ours, if it is still as it was seen."""
        same = (duties.c.name == self._name, duties.c.holder == held[0], duties.c.beats == held[1])
        ours = update(duties).where(*same).values(holder=self._me, beats=duties.c.beats + 1)
        return connection.execute(ours).rowcount == 1
