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
    # 40 MiB instead of 4: moving the log into the file takes longer than a commit may, and a storm writes the same
    # pages again and again. A start after a crash reads so much more.
    "wal_autocheckpoint=10000",
    "journal_size_limit=67108864",  # the log gives back what it grew beyond 64 MiB, after the next checkpoint
)


_SPREAD = {
    "groups_by_key": "100000 2 1",
    "groups_by_incident": "100000 20 1",
    "alerts_by_group": "1000000 10",
    "alerts_by_incident": "1000000 200 1 1",
    "alerts_by_fingerprint": "1000000 50 1 1",
    "alerts_by_name": "1000000 5000 1 1",
    "alerts_by_status": "1000000 500000 1",
    "notifications_by_group": "500000 5",
    "notifications_by_receiver": "500000 50000 1 1",
    "notifications_by_incident": "500000 100 1 1",
    "notifications_by_state": "500000 200000 1",
    "notifications_due": "1000 100 2 1",
    "notifications_in_order": "1000 100 2 1",
    "notifications_unfinished": "5000 2500 500 1 1",
    "notifications_claimed": "10 5 5",
    "notifications_bound": "1000 500",
}
"""How many rows an index of a long history has, then how many share a value of its first column, its first two, ...

Source: https://www.sqlite.org/fileformat2.html#stat1tab, and lang_analyze.html on writing it by hand.
"""


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

    def tell_spread(self, connection: Connection) -> None:
        """SQLite's own ANALYZE would hold up the writer, or with a limit see one value only."""
        connection.exec_driver_sql("ANALYZE sqlite_schema")  # makes the table
        connection.exec_driver_sql("DELETE FROM sqlite_stat1")
        rows = [(index.partition("_")[0], index, spread) for index, spread in _SPREAD.items()]
        connection.exec_driver_sql("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (?, ?, ?)", rows)
        connection.exec_driver_sql("ANALYZE sqlite_schema")  # reads it

    def reason(self, error: DBAPIError) -> str:
        """SQLite's own words, which hold no values, and what to do."""
        text = str(error.orig)
        broken = "malformed" in text or "not a database" in text
        return f"{text}: restore it from a backup, or move it away to start with an empty one" if broken else text

    def close(self) -> None:
        """Give the folder back."""
        self.engine.dispose()
        os.close(self._lock)
