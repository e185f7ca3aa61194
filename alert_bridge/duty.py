"""What only one of several replicas does: who holds a duty does it, for as long as it keeps saying so."""

from __future__ import annotations

import uuid

from sqlalchemy import Connection, insert, or_, select, update

from alert_bridge.database import Database
from alert_bridge.schema import duties
from cloudpulse.clock import Clock


class Duty:
    """A row in the database. When its holder falls silent, another replica takes it after `seconds`."""

    def __init__(self, database: Database, clock: Clock, name: str, seconds: float) -> None:
        self._database = database
        self._clock = clock
        self._name = name
        self._seconds = seconds
        self._holder = uuid.uuid4().hex

    def mine(self) -> bool:
        """Take or keep it for `seconds`, if nobody else has it. Raises StoreError."""

        def operation(connection: Connection) -> bool:
            now = self._clock()
            held = {"holder": self._holder, "until": now + self._seconds}
            # Bounded: after a clock that was set back, a holder of the future is none.
            free = or_(duties.c.holder == self._holder, duties.c.until < now, duties.c.until > now + 2 * self._seconds)
            taken = update(duties).where(duties.c.name == self._name, free).values(held)
            if connection.execute(taken).rowcount:
                return True
            if connection.scalar(select(duties.c.name).where(duties.c.name == self._name)) is not None:
                return False
            connection.execute(insert(duties).values(name=self._name, **held))
            return True

        return self._database.write(operation)
