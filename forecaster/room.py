"""How many requests of a kind are worked on at once, so that all others (a scrape first of all) still find a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cloudpulse.errors import CloudPulseError

_AT_THE_DOOR_SECONDS = 0.25


class Full(CloudPulseError):
    """Too many others are at it; the text says so."""


class Room:
    """`places` at a time and `waiting` more who wait for one. For several threads.

    Whoever finds all of those taken waits only a little for someone to leave, since a server's threads are few.
    """

    def __init__(self, places: int, waiting: int) -> None:
        self._places = threading.BoundedSemaphore(places)
        self._entries = threading.BoundedSemaphore(places + waiting)

    @contextmanager
    def place(self, patience: float) -> Iterator[None]:
        """A place while the block runs; waits up to `patience` seconds for it. Raises Full."""
        if not self._entries.acquire(timeout=min(patience, _AT_THE_DOOR_SECONDS)):
            raise Full("too many at once: try again in a moment")
        try:
            if not self._places.acquire(timeout=patience):
                raise Full(f"no place within {patience:g}s, others take long: try again in a moment")
            try:
                yield
            finally:
                self._places.release()
        finally:
            self._entries.release()
