"""What is happening, as it happens: the events for every client of `/api/v1/stream`, read once for all of them.

A client may come back with the last id that it has; what it missed is read for it page by page until it has caught up
with the newest events, which are kept in memory for all.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection

from alert_bridge import events
from alert_bridge.announcement import Announcement, announcements, moment
from alert_bridge.database import Database
from alert_bridge.events import KINDS
from cloudpulse import logs
from cloudpulse.backlog import TRY_AGAIN_LATER, Backlog
from cloudpulse.clock import Clock
from cloudpulse.errors import StoreError
from cloudpulse.streaming import Feed, StreamEnded

POLL_SECONDS = 0.5
"""Between two looks at what another replica may have stored; what this one stores wakes the reader."""
PAUSE_SECONDS = 0.05
"""At least between two looks, so that many small changes are read together."""
RETRY_SECONDS = 1.0
PAGE = 200
PAGE_BYTES = 2**20
"""Read at once; of that, given to one client at once."""
KEPT = 10_000
KEPT_BYTES = 2**25
"""Events in memory; a client that falls behind by more is disconnected, since what it shows is no longer now."""

log = logs.get(__name__)


@dataclass(frozen=True)
class Wish:
    """What a client asked for: events `after` an id, or the `last` few, or from now on; of these kinds.

    With `receivers`, deliveries to those alone; events that aren't deliveries are chosen by their kind.
    """

    after: int | None = None
    last: int | None = None
    kinds: frozenset[str] = frozenset(KINDS)
    receivers: frozenset[str] = frozenset()

    def takes(self, one: Announcement) -> bool:
        """Whether the client wants to hear it."""
        heard = one.receiver is None or not self.receivers or one.receiver in self.receivers
        return one.kind in self.kinds and heard


class Stream:
    """Reads the events in a thread of its own, between `start` and `close`, while anybody listens.

    `listening` says how many clients there are; `wake` is called when feeds have something new.
    """

    def __init__(
        self, database: Database, clock: Clock, listening: Callable[[], int], wake: Callable[[], None]
    ) -> None:
        self._database = database
        self._clock = clock
        self._listening = listening
        self._tell = wake
        self._following = False
        self._recent: Backlog[Announcement] = Backlog(KEPT, KEPT_BYTES)
        self._asked: deque[AlertFeed] = deque()
        self._stopping = False
        self._news = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stream", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def close(self) -> None:
        """Stop reading."""
        self._stopping = True
        self._news.set()
        if self._thread.is_alive():
            self._thread.join(2 * RETRY_SECONDS)

    def stored(self) -> None:
        """Something was stored here; cheap, called after every commit."""
        if self._listening():
            self._news.set()

    def feed(self, wish: Wish) -> Feed:
        """A feed for a new client."""
        return AlertFeed(wish, self._recent, self._ask)

    def _ask(self, feed: AlertFeed) -> None:
        self._asked.append(feed)
        self._news.set()

    def _run(self) -> None:
        while not self._stopping:
            self._news.wait(POLL_SECONDS if self._listening() else None)
            self._news.clear()
            try:
                self._look()
            except StoreError as error:
                log.error("events not readable, will try again", error=str(error))
                time.sleep(RETRY_SECONDS)
            except Exception:  # a bug, too, must not silence the stream until the next start
                log.exception("the stream broke, will try again")
                time.sleep(RETRY_SECONDS)
            time.sleep(PAUSE_SECONDS)

    def _look(self) -> None:
        self._following &= self._listening() > 0  # reading on for nobody would cost, and nobody is owed anything
        if not self._listening():
            return
        with self._database.read() as connection:
            self._follow(connection)
            while self._asked:
                self._serve(connection, self._asked[0])
                self._asked.popleft()  # only now: after an error it is served again
        self._tell()

    def _follow(self, connection: Connection) -> None:
        if not self._following:
            self._recent.begin(events.bounds(connection)[1])
            self._following = True
        while found := events.read(connection, self._recent.upto, PAGE):
            self._recent.add(list(announcements(connection, found)), found[-1].id)

    def _serve(self, connection: Connection, feed: AlertFeed) -> None:
        """Give a feed its first message, or a page of what it has missed."""
        if feed.cursor is None:
            feed.give(*self._greeting(connection, feed.wish))
            return
        upto = self._recent.upto
        found = events.read(connection, feed.cursor, PAGE, upto, feed.wish.kinds)
        reached = found[-1].id if len(found) == PAGE else max(feed.cursor, upto)
        texts: list[str] = []
        size = 0
        for one in announcements(connection, found):
            if feed.wish.takes(one):
                texts.append(one.text)
                size += len(one.text)
            if size > PAGE_BYTES:
                reached = one.id
                break
        feed.give(texts, reached)

    def _greeting(self, connection: Connection, wish: Wish) -> tuple[list[str], int]:
        """What a client hears first, and after which id it goes on."""
        first, last = events.bounds(connection)
        after, more = self._recent.upto, {"kind": "hello"}
        if wish.last is not None:
            after = max(first - 1, after - wish.last)
        elif wish.after is not None:
            after = wish.after
            if not first - 1 <= after <= last:
                reason = f"the events kept are {first} to {last}, {after} isn't: see /api/v1/alerts for what was"
                after, more = first - 1, {"kind": "reset", "reason": reason}
        text = {"id": after, "at": moment(self._clock()), **more}
        return [msgspec.json.encode(text).decode()], after


class AlertFeed:
    """What one client is sent; a Feed. The reader gives, the streaming thread pulls."""

    def __init__(self, wish: Wish, recent: Backlog[Announcement], ask: Callable[[AlertFeed], None]) -> None:
        self.wish = wish
        self.cursor: int | None = None
        self._recent = recent
        self._ask = ask
        self._given: deque[str] = deque()
        self._live = False
        self._asked = False

    def give(self, texts: Iterable[str], cursor: int) -> None:
        """What was asked for, and the id up to which nothing is missing with it."""
        self._given.extend(texts)
        self.cursor = cursor
        self._asked = False  # last: from here on the other thread goes on

    def pull(self) -> str | None:
        """See Feed."""
        if self._asked:
            return None
        if self._given:
            return self._given.popleft()
        try:
            if self.cursor is None:
                raise LookupError
            found, self.cursor = self._recent.next(self.cursor, self.wish.takes)
        except LookupError:
            if self._live:
                raise StreamEnded(f"too slow: come back with after={self.cursor}", TRY_AGAIN_LATER) from None
            self._asked = True
            self._ask(self)
            return None
        self._live = True
        return None if found is None else found.text
