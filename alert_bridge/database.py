"""The database under the outbox: read by any thread, written by one, durable when `write` returns.

Several writes that wait at the same time share one transaction and one flush to disk (group commit). What is under it
is a Backend: SQLite for one process (alert_bridge/sqlite_file.py), PostgreSQL for several (alert_bridge/postgresql.py).
"""

from __future__ import annotations

import contextlib
import contextvars
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from alert_bridge import migrations
from cloudpulse.errors import StoreError

T = TypeVar("T")
Operation = Callable[[Connection], Any]

BATCH = 200
WRITE_SECONDS = 10
"""How long a caller waits for its write: longer than the database waits for a lock, shorter than Alertmanager."""


LAST_SECONDS = 2
"""How long a write may take once the process is to end, so that all of it ends within 10 s: the disk may be stuck."""


class Backend(Protocol):
    """One kind of database. `name` is how messages call it; `shared` says whether other processes may use it, too."""

    name: str
    shared: bool
    engine: Engine
    reader: Engine
    """Its connections see one moment of the database until they are given back."""

    def check(self) -> None:
        """Raise StoreError when what is written now would not be found again."""

    def take_turn(self, connection: Connection) -> None:
        """Until this transaction ends no other process writes in turn; so ids become visible in their order."""

    def version(self, connection: Connection) -> int:
        """The version of the schema in it; 0 for none."""

    def set_version(self, connection: Connection, version: int) -> None:
        """Note it."""

    def tell_spread(self, connection: Connection) -> None:
        """Tell it which indices are worth how much, where it doesn't find out by itself."""

    def reason(self, error: DBAPIError) -> str:
        """What the driver says, without any secret or stored value."""

    def close(self) -> None:
        """Let everything go."""


@dataclass(frozen=True, eq=False)
class _Write:
    operation: Operation
    in_turn: bool
    future: Future[Any] = field(default_factory=Future)
    context: contextvars.Context = field(default_factory=contextvars.copy_context)


class Database:
    """Reads by any thread, writes through one. Raises StoreError when the database can't be used.

    `write` runs its operation in its caller's context (contextvars), and in a transaction that other operations may
    share; so an operation tells by its result, not by an exception, and touches nothing but its connection. It may run
    twice, the first time rolled back; and when a connection breaks during a commit, nobody knows whether it happened:
    the caller hears StoreError.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.name = backend.name
        self.shared = backend.shared
        try:
            with self._errors("open"), backend.engine.begin() as connection:
                backend.take_turn(connection)
                migrations.prepare(connection, backend)
                backend.tell_spread(connection)
            backend.check()
        except BaseException:
            backend.close()
            raise
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._committed: list[Callable[[], None]] = []
        self._open = True
        self._waiting: set[_Write] = set()
        self._longest = float("inf")
        self._thread = threading.Thread(target=self._write_batches, name="outbox", daemon=True)
        self._thread.start()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one moment of the database."""
        with self._errors("read"), self._backend.reader.connect() as connection:
            yield connection

    def write(
        self,
        operation: Callable[[Connection], T],
        seconds: float | None = WRITE_SECONDS,
        *,
        in_turn: bool = True,
    ) -> T:
        """What `operation` returned, once it is on disk. After `seconds` the caller goes, and it may still happen.

        `in_turn` unless it adds no rows and is safe beside the writes of other processes.
        """
        if not self._open:
            raise StoreError(f"{self.name}: already closed")
        asked = _Write(operation, in_turn)
        self._waiting.add(asked)
        self._queue.put(asked)
        longest = min(seconds if seconds is not None else float("inf"), self._longest)
        try:
            result: T = asked.future.result(None if longest == float("inf") else longest)
        except TimeoutError as error:
            asked.future.cancel()
            raise self._too_long(longest) from error
        finally:
            self._waiting.discard(asked)
        return result

    def hurry(self) -> None:
        """The process is to end: no write is waited for longer than LAST_SECONDS, from now on."""
        self._longest = LAST_SECONDS
        late = list(self._waiting)

        def give_up() -> None:
            for asked in late:
                _answer(asked, self._too_long(LAST_SECONDS))

        timer = threading.Timer(LAST_SECONDS, give_up)
        timer.daemon = True
        timer.start()

    def on_commit(self, call: Callable[[], None]) -> None:
        """Call this, which must not wait, after every commit; by the writing thread."""
        self._committed.append(call)

    def close(self) -> None:
        """Finish the writes that wait, let the database go."""
        self._open = False
        self._queue.put(None)
        self._thread.join(LAST_SECONDS)
        self._backend.close()

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
            self._commit([asked for asked in batch if _wanted(asked)])
            if last:
                return

    def _commit(self, batch: list[_Write]) -> None:
        results: list[Any] = []
        in_operation = False
        try:
            with self._errors("write"):
                self._backend.check()
                with self._backend.engine.begin() as connection:
                    if any(asked.in_turn for asked in batch):
                        self._backend.take_turn(connection)
                    for asked in batch:
                        in_operation = True
                        results.append(asked.context.run(asked.operation, connection))
                        in_operation = False
        except Exception as error:  # noqa: BLE001  every caller waits for an answer, whatever happened
            if len(batch) > 1 and in_operation and not _lost(error):
                # Nothing was kept. One by one, so that a single bad operation fails alone.
                for one in batch:
                    self._commit([one])
            else:
                for asked in batch:
                    _answer(asked, error)
            return
        for asked, result in zip(batch, results, strict=True):
            with contextlib.suppress(InvalidStateError):  # its caller went
                asked.future.set_result(result)
        for call in self._committed:
            call()

    def _too_long(self, seconds: float) -> StoreError:
        return StoreError(f"{self.name}: writing took longer than {seconds:g} s: is the disk stuck?")

    @contextmanager
    def _errors(self, action: str) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            # Only the driver's words: SQLAlchemy's own text holds the statement's values.
            raise StoreError(f"{self.name}: can't {action} the outbox: {self._backend.reason(error)}") from error
        except SQLAlchemyError as error:
            raise StoreError(f"{self.name}: can't {action} the outbox: {type(error).__name__}") from error


def _wanted(asked: _Write) -> bool:
    """Whether its caller still waits; then it can't be cancelled any more."""
    try:
        return not asked.future.done() and asked.future.set_running_or_notify_cancel()
    except InvalidStateError:  # answered in this moment
        return False


def _answer(asked: _Write, error: Exception) -> None:
    with contextlib.suppress(InvalidStateError):
        asked.future.set_exception(error)


def _lost(error: Exception) -> bool:
    """Whether the connection itself failed: then each further try would wait as long as this one."""
    cause = error.__cause__
    return isinstance(cause, DBAPIError) and cause.connection_invalidated
