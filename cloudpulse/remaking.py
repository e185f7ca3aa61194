"""A value made from files, made anew when they change: certificates, the web config."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from cloudpulse.clock import Clock
from cloudpulse.errors import ConfigError

T = TypeVar("T")

RETRY_SECONDS = 5.0
"""Between two tries to use a change that could not be used: what was wrong may end without a trace in the files."""


class Sources:
    """What a value was made from, as it was just before: a change while it is read is seen the next time."""

    def __init__(self) -> None:
        self._seen: list[tuple[Callable[[], object], object]] = []

    def file(self, path: Path) -> Path:
        """`path`, watched from now on."""
        self.watch(lambda: _stamp(path))
        return path

    def watch(self, probe: Callable[[], T]) -> T:
        """What `probe` gives; another answer of it later on is a change."""
        found = probe()
        self._seen.append((probe, found))
        return found

    def changed(self) -> bool:
        """Whether any is not what it was."""
        return any(probe() != found for probe, found in self._seen)


class Remade(Generic[T]):
    """Calls `make` now, and again once what that read through its `Sources` has changed. Raises its first ConfigError.

    A change that can't be used keeps the value before, since a half-written file must not end the service. It is told
    to `on_error` once, and tried again every `RETRY_SECONDS`. Any thread may ask. `ticks` must not jump.
    """

    def __init__(
        self, make: Callable[[Sources], T], on_error: Callable[[ConfigError], None], ticks: Clock = time.monotonic
    ) -> None:
        self._make = make
        self._on_error = on_error
        self._ticks = ticks
        self._lock = threading.Lock()
        self._sources = Sources()
        self._value = make(self._sources)
        self._failure: ConfigError | None = None
        self._retry_at = 0.0

    def __call__(self) -> T:
        """The value of this moment."""
        with self._lock:
            if self._sources.changed() or (self._failure is not None and self._ticks() >= self._retry_at):
                self._remake()
            return self._value

    def now(self) -> T:
        """Make it anew, changed or not; raises ConfigError, and then the value before goes on."""
        with self._lock:
            self._remake()
            if self._failure is not None:
                raise self._failure
            return self._value

    @property
    def failed(self) -> bool:
        """Whether the last change could not be used."""
        return self._failure is not None

    def _remake(self) -> None:
        sources = Sources()
        try:
            self._value = self._make(sources)
            self._failure = None
        except ConfigError as error:
            if str(error) != str(self._failure):
                self._on_error(error)
            self._failure, self._retry_at = error, self._ticks() + RETRY_SECONDS
        self._sources = sources


def _stamp(file: Path) -> tuple[int, int, int]:
    try:
        found = file.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_ino, found.st_size)
