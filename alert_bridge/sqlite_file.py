"""SQLite under the outbox: one file in data_dir, which one process uses at a time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import DBAPIError

from cloudpulse.errors import StoreError
from cloudpulse.folders import claim, sync

FILE = "outbox.db"

_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "busy_timeout=5000",
    "journal_size_limit=67108864",  # the log gives back what it grew beyond 64 MiB, after the next checkpoint
)


class SqliteFile:
    """A Backend; claims `data_dir` until it is closed. Raises StoreError when the folder can't be used."""

    shared = False

    def __init__(self, data_dir: Path, pragmas: tuple[str, ...] = ()) -> None:
        self.path = data_dir / FILE
        self.name = str(self.path)
        self._identity: tuple[int, int] | None = None
        self._lock = claim(data_dir, "alert bridge")
        self.engine = self.reader = create_engine(f"sqlite:///{self.path}", hide_parameters=True)

        @event.listens_for(self.engine, "connect")
        def connected(connection: Any, _: object) -> None:
            connection.isolation_level = None  # we say BEGIN; the driver's own way leaves reads outside of transactions
            for pragma in (*_PRAGMAS, *pragmas):
                connection.execute(f"PRAGMA {pragma}")

        @event.listens_for(self.engine, "begin")
        def begun(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN")

    def check(self) -> None:
        """SQLite goes on writing into a file that was removed; what it stores there nobody finds again."""
        try:
            found = self.path.stat()
        except OSError:
            identity = None
        else:
            identity = (found.st_dev, found.st_ino)
        if self._identity is None and identity is not None:
            sync(self.path.parent)
            self._identity = identity
        if identity is None or identity != self._identity:
            raise StoreError(f"{self.path}: removed or replaced while in use: restart the alert bridge")

    def take_turn(self, connection: Connection) -> None:
        """Nobody else writes, and the one writer's ids are visible in their order."""

    def version(self, connection: Connection) -> int:
        """SQLite's user_version."""
        version: int = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        return version

    def set_version(self, connection: Connection, version: int) -> None:
        """Within the transaction, as everything in the file's header."""
        connection.exec_driver_sql(f"PRAGMA user_version={version}")

    def reason(self, error: DBAPIError) -> str:
        """SQLite's own words, which hold no values."""
        return str(error.orig)

    def close(self) -> None:
        """Give the folder back."""
        self.engine.dispose()
        os.close(self._lock)
