"""What was said last, in order, for the feeds of all streams: each reads on from where it is."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

TRY_AGAIN_LATER = 1013
"""Tells a client that fell behind to come back: a close code of IANA's registry."""


class Said(Protocol):
    """A message; ids rise."""

    @property
    def id(self) -> int: ...

    @property
    def text(self) -> str: ...


Message = TypeVar("Message", bound=Said)


class Backlog(Generic[Message]):
    """The newest messages, `most` and about `most_bytes` of them at most. For several threads."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self.upto = 0
        self._most = most
        self._most_bytes = most_bytes
        self._since = 0
        self._kept: list[Message] = []
        self._bytes = 0
        self._lock = threading.Lock()

    def begin(self, upto: int) -> None:
        """Start anew after this id."""
        with self._lock:
            self.upto = self._since = upto
            self._kept, self._bytes = [], 0

    def add(self, found: Sequence[Message], upto: int) -> None:
        """Keep what was found up to this id, and let the oldest go."""
        with self._lock:
            self._kept += found
            self._bytes += sum(len(one.text) for one in found)
            self.upto = upto
            surplus = 0
            while len(self._kept) - surplus > self._most or (
                self._bytes > self._most_bytes and surplus < len(self._kept)
            ):
                self._bytes -= len(self._kept[surplus].text)
                surplus += 1
            if surplus:
                self._since = self._kept[surplus - 1].id
                del self._kept[:surplus]

    def next(self, after: int, wanted: Callable[[Message], bool]) -> tuple[Message | None, int]:
        """The next message that is wanted, and up to which id all were seen.

        Raises LookupError when some after that id are no longer kept.
        """
        with self._lock:
            if after < self._since:
                raise LookupError
            for number in range(bisect.bisect_right(self._kept, after, key=_id), len(self._kept)):
                one = self._kept[number]
                if wanted(one):
                    return one, one.id
            return None, max(after, self.upto)


def _id(one: Said) -> int:
    return one.id
