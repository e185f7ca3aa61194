"""What is happening, as it happens: what every client of the forecaster's `/api/v1/stream` is told.

Of forecasts only the newest counts: a slow client misses older ones. Anomalies and alerts are told one after the other.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from cloudpulse import __version__
from cloudpulse.backlog import TRY_AGAIN_LATER, Backlog
from cloudpulse.clock import Clock
from cloudpulse.streaming import StreamEnded
from forecaster.episodes import Episodes, Turn
from forecaster.store import Issue
from forecaster.table import series_id

KINDS = ("forecast", "anomaly", "alert")
KEPT = 10_000
KEPT_BYTES = 2**25
"""Anomalies and alerts in memory; a client that falls behind by more is disconnected: what it shows is not so now."""
LAST_ALERTS = 50
"""Told to a client when it comes, the newest of those that were heard."""

_encode = msgspec.json.Encoder().encode  # NaN becomes null


@dataclass(frozen=True)
class Wish:
    """What a client asked for; with `forecasts`, forecasts and anomalies of these alone."""

    kinds: frozenset[str] = frozenset(KINDS)
    forecasts: frozenset[str] = frozenset()

    def takes(self, event: Event) -> bool:
        """Whether the client wants to hear it."""
        heard = event.forecast is None or not self.forecasts or event.forecast in self.forecasts
        return event.kind in self.kinds and heard


@dataclass(frozen=True)
class Event:
    """One message. Ids rise, across all kinds."""

    id: int
    kind: str
    forecast: str | None  # None: of no single one
    text: str


class Stream:
    """Takes what happens from any thread and keeps it for the feeds; `wake` is called when there is something new."""

    def __init__(self, clock: Clock, wake: Callable[[], None]) -> None:
        self._clock = clock
        self._wake = wake
        self._episodes = Episodes()
        self._lock = threading.Lock()
        self._upto = 0  # the newest id
        self._newest: dict[str, Event] = {}  # of each forecast
        self._kept: Backlog[Event] = Backlog(KEPT, KEPT_BYTES)  # anomalies and alerts
        self._alerts: deque[Event] = deque(maxlen=LAST_ALERTS)

    def changed(self, name: str, issue: Issue | None, anew: bool) -> None:
        """The store has an issue: one made `anew`, or the same that still holds; None when the forecast is no more."""
        if issue is None:
            turns = self._episodes.dropped(name, self._clock())
        else:
            turns = self._episodes.turns(issue) if anew else []
        told = [_anomaly(turn) for turn in turns]
        with self._lock:
            if issue is None:
                self._newest.pop(name, None)
            else:
                self._newest[name] = self._event("forecast", name, _forecast(issue))
            self._keep([self._event("anomaly", name, text) for text in told])
        self._wake()

    def alert(self, told: bytes) -> None:
        """Something that the alert bridge's stream has told, JSON."""
        text = _encode({"kind": "alert", "at": self._clock(), "alert": msgspec.Raw(told)}).decode()
        with self._lock:
            event = self._event("alert", None, text)
            self._alerts.append(event)
            self._keep([event])
        self._wake()

    def forget_alerts(self) -> None:
        """Tell newcomers of none that came before."""
        with self._lock:
            self._alerts.clear()

    def feed(self, wish: Wish) -> EventFeed:
        """For a new client: what there is from now on, after a hello and the newest alerts."""
        hello = _encode({"kind": "hello", "now": self._clock(), "version": __version__}).decode()
        with self._lock:
            alerts = [event.text for event in self._alerts] if "alert" in wish.kinds else []
            return EventFeed(self, wish, [hello, *alerts], self._upto)

    def next(self, after: int, wish: Wish) -> tuple[Event | None, int]:
        """The first event after that id which is wished for, and up to which id all were seen.

        Raises StreamEnded where one may be gone.
        """
        with self._lock:
            events = [event for event in self._newest.values() if event.id > after and wish.takes(event)]
            if wish.kinds - {"forecast"}:
                try:
                    later, _ = self._kept.next(after, wish.takes)
                except LookupError:
                    reason = "too slow: come back and look at /api/v1/overview"
                    raise StreamEnded(reason, TRY_AGAIN_LATER) from None
                events += [] if later is None else [later]
            first = min(events, key=lambda event: event.id, default=None)
            return first, self._upto if first is None else first.id

    def _event(self, kind: str, forecast: str | None, text: str) -> Event:
        """With the lock held."""
        self._upto += 1
        return Event(self._upto, kind, forecast, text)

    def _keep(self, events: Sequence[Event]) -> None:
        """With the lock held."""
        if events:
            self._kept.add(events, self._upto)


class EventFeed:
    """What one client is sent; a Feed."""

    def __init__(self, stream: Stream, wish: Wish, first: Iterable[str], after: int) -> None:
        self._stream = stream
        self._wish = wish
        self._first = deque(first)
        self._after = after

    def pull(self) -> str | None:
        """See Feed."""
        if self._first:
            return self._first.popleft()
        event, self._after = self._stream.next(self._after, self._wish)
        return None if event is None else event.text


def _forecast(issue: Issue) -> str:
    told = {
        "kind": "forecast",
        "forecast": issue.target.name,
        "issued_at": issue.issued_at,
        "series_count": len(issue.forecast.labels),
    }
    return _encode(told).decode()


def _anomaly(turn: Turn) -> str:
    told: dict[str, Any] = {
        "kind": "anomaly",
        "forecast": turn.forecast,
        "id": series_id(turn.forecast, turn.labels),
        "labels": turn.labels,
        "score": turn.score,
        "observed": turn.observed,
        "expected": turn.expected,
        "at": turn.at,
        "state": turn.state,
    }
    return _encode(told).decode()
