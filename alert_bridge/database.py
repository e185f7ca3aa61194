"""The SQLite file under the outbox: opened once per data_dir, written by one thread, durable when `write` returns.

Several writes that wait at the same time share one transaction and one fsync (group commit).
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from alert_bridge import schema
from cloudpulse.errors import StoreError
from cloudpulse.folders import claim, sync

T = TypeVar("T")
Operation = Callable[[Connection], Any]

FILE = "outbox.db"
BATCH = 200
WRITE_SECONDS = 10
"""How long a caller waits for its write: longer than SQLite's own wait for a lock, shorter than Alertmanager's."""

_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000")


class Database:
    """Reads by any thread, writes through one. Raises StoreError when the file can't be used.

    `write` runs its operation in a transaction that other operations may share; so an operation tells by its result,
    not by an exception, and touches nothing but its connection. It may run twice, the first time rolled back.
    """

    def __init__(self, data_dir: Path, pragmas: tuple[str, ...] = ()) -> None:
        self.path = data_dir / FILE
        self._lock = claim(data_dir, "alert bridge")
        self._engine = _engine(self.path, (*_PRAGMAS, *pragmas))
        try:
            with self._errors("open"), self._engine.begin() as connection:
                _prepare(connection, self.path)
            sync(data_dir)
            self._identity = _identity(self.path)
        except BaseException:
            self._engine.dispose()
            os.close(self._lock)
            raise
        self._queue: queue.SimpleQueue[tuple[Operation, Future[Any]] | None] = queue.SimpleQueue()
        self._committed: list[Callable[[], None]] = []
        self._open = True
        self._thread = threading.Thread(target=self._write_batches, name="outbox", daemon=True)
        self._thread.start()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one moment of the database."""
        with self._errors("read"), self._engine.connect() as connection:
            yield connection

    def write(self, operation: Callable[[Connection], T], seconds: float | None = WRITE_SECONDS) -> T:
        """What `operation` returned, once it is on disk. After `seconds` the caller goes, and it may still happen."""
        if not self._open:
            raise StoreError(f"{self.path}: already closed")
        future: Future[T] = Future()
        self._queue.put((operation, future))
        try:
            return future.result(seconds)
        except TimeoutError as error:
            future.cancel()
            raise StoreError(f"{self.path}: writing took longer than {seconds} s: is the disk stuck?") from error

    def on_commit(self, call: Callable[[], None]) -> None:
        """Call this, which must not wait, after every commit; by the writing thread."""
        self._committed.append(call)

    def close(self) -> None:
        """Finish the writes that wait, let the file go."""
        self._open = False
        self._queue.put(None)
        self._thread.join(WRITE_SECONDS)
        self._engine.dispose()
        os.close(self._lock)

    def _write_batches(self) -> None:
        while (item := self._queue.get()) is not None:
            batch = [item]
            last = False
            while len(batch) < BATCH and not self._queue.empty():
                following = self._queue.get()
                if following is None:
                    last = True
                    break
                batch.append(following)
            self._commit([(operation, future) for operation, future in batch if future.set_running_or_notify_cancel()])
            if last:
                return

    def _commit(self, batch: list[tuple[Operation, Future[Any]]]) -> None:
        try:
            with self._errors("write"):
                self._check_identity()
                with self._engine.begin() as connection:
                    results = [operation(connection) for operation, _ in batch]
        except Exception as error:  # noqa: BLE001  every caller waits for an answer, whatever happened
            if len(batch) == 1:
                batch[0][1].set_exception(error)
            else:
                # Nothing was kept. One by one, so that a single bad operation fails alone.
                for one in batch:
                    self._commit([one])
            return
        for (_, future), result in zip(batch, results, strict=True):
            future.set_result(result)
        for call in self._committed:
            call()

    def _check_identity(self) -> None:
        # SQLite goes on writing into a file that was removed; what it stores there nobody finds again.
        if _identity(self.path) != self._identity:
            raise StoreError(f"{self.path}: removed or replaced while in use: restart the alert bridge")

    @contextmanager
    def _errors(self, action: str) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            # Only the driver's words: SQLAlchemy's own text holds the statement's values.
            raise StoreError(f"{self.path}: can't {action} the outbox: {error.orig}") from error
        except SQLAlchemyError as error:
            raise StoreError(f"{self.path}: can't {action} the outbox: {type(error).__name__}") from error


def _engine(path: Path, pragmas: tuple[str, ...]) -> Engine:
    engine = create_engine(f"sqlite:///{path}", hide_parameters=True)

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: object) -> None:
        connection.isolation_level = None  # we say BEGIN; the driver's own way leaves reads outside of transactions
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def _prepare(connection: Connection, path: Path) -> None:
    version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    if version not in (0, schema.VERSION):
        raise StoreError(f"{path}: written by a newer CloudPulse (schema {version}, here {schema.VERSION}): upgrade")
    schema.metadata.create_all(connection)
    connection.exec_driver_sql(f"PRAGMA user_version={schema.VERSION}")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
