"""What this process has claimed and not settled: its own view of the column `claimed_by`. For any thread."""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass

from alert_bridge.notifier import Notification


@dataclass(frozen=True, eq=False)
class Claim:
    """One claim of a notification: which attempt it is, and the rows that it stands for."""

    notification_id: int
    attempt: int
    rows: frozenset[int]


class Holding:
    """A row may be claimed anew before the thread that let it go has said so here; hence by claim, not by row."""

    def __init__(self) -> None:
        self._claims: dict[int, Claim] = {}
        self._strays: set[int] = set()
        self._lock = threading.Lock()

    @property
    def rows(self) -> frozenset[int]:
        """Ids of all that is held."""
        with self._lock:
            return frozenset().union(*(claim.rows for claim in self._claims.values()))

    def take(self, claim: Claim) -> None:
        """It is about to be committed."""
        with self._lock:
            self._claims[claim.notification_id] = claim

    def settle(self, notification: Notification) -> None:
        """Its result is recorded."""
        with self._lock:
            claim = self._claims.get(notification.id)
            if claim is not None and claim.attempt == notification.attempt:
                del self._claims[notification.id]

    def lose(self, notification: Notification) -> None:
        """No thread has it any more, unless it is settled already."""
        with self._lock:
            claim = self._claims.get(notification.id)
        if claim is not None and claim.attempt == notification.attempt:
            self.doubt(claim)

    def doubt(self, claim: Claim) -> None:
        """No thread has it, though it may have been committed."""
        with self._lock:
            if self._claims.get(claim.notification_id) is claim:
                del self._claims[claim.notification_id]
                self._strays |= claim.rows

    @property
    def strays(self) -> frozenset[int]:
        """Rows that may be claimed from here, of which no thread knows."""
        with self._lock:
            return frozenset(self._strays).difference(*(claim.rows for claim in self._claims.values()))

    def freed(self, rows: Collection[int]) -> None:
        """These aren't claimed any more."""
        with self._lock:
            self._strays.difference_update(rows)
