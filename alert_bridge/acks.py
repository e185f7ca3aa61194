"""Taking an alert: a short silence at Alertmanager, recorded here and told to everyone who was told of the alert."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, and_, insert, select, update

from alert_bridge import events
from alert_bridge.alertmanager import Alertmanager, AlertmanagerSettings, AlertmanagerUnavailable
from alert_bridge.database import Database
from alert_bridge.links import Links
from alert_bridge.notifier import Ack
from alert_bridge.outbox import Outbox
from alert_bridge.schema import acks, alerts, firing
from alert_bridge.webhook import Alert
from cloudpulse import logs
from cloudpulse.clock import Clock
from cloudpulse.errors import CloudPulseError, StoreError

AT_ONCE = 4
"""Acks that may wait for Alertmanager at a time: it may hang, and the webhook needs threads, too."""

log = logs.get(__name__)


class NotThere(CloudPulseError):
    """There is no such alert, or no ack of it that holds."""


class NotFiring(CloudPulseError):
    """The alert has ended: there is nothing to take."""


@dataclass(frozen=True)
class Taken:
    """An ack that holds until then (Unix seconds), who was told of it, and where to undo it (empty without links)."""

    fingerprint: str
    silence: str
    by: str
    until: float
    receivers: tuple[str, ...]
    undo_url: str


class Acks:
    """For several threads. Nothing is recorded without its silence, and no silence stays that can't be recorded."""

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        settings: AlertmanagerSettings | None,
        allow_link_local: bool,
        links: Links,
        wake: Callable[[Iterable[str]], None],
        clock: Clock,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._settings = settings
        self._alertmanager = Alertmanager(settings, allow_link_local) if settings is not None else None
        self._links = links
        self._wake = wake
        self._clock = clock
        self._places = threading.BoundedSemaphore(AT_ONCE)
        self._lock = threading.Lock()

    @property
    def longest(self) -> float:
        """Seconds that an ack may hold; 0 without an Alertmanager."""
        return self._settings.ack_at_most if self._settings is not None else 0

    @property
    def usual(self) -> float:
        """Seconds that an ack holds unless told; 0 without an Alertmanager."""
        return self._settings.ack_for if self._settings is not None else 0

    def take(self, fingerprint: str, by: str, seconds: float, comment: str) -> Taken:
        """Take the alert for so long; one that is taken already is prolonged, or shortened.

        Raises NotThere, NotFiring, AlertmanagerUnavailable and StoreError.
        """
        with self._asking() as alertmanager:
            alert, held = self._alert(fingerprint), self._held(acks.c.fingerprint == fingerprint)
            if not alert.firing:
                raise NotFiring(f"the alert {fingerprint} doesn't fire any more: there is nothing to take")
            now = self._clock()
            until = now + seconds
            silence = alertmanager.silence(
                alert.labels,
                now,
                until,
                by=by,
                comment=comment or "taken through CloudPulse",
                known=held.silence if held is not None else None,
            )
            ack = Ack(by=by, until=until, comment=comment, undo_url=self._links.undo(silence, until))
            try:
                told = self._outbox.acknowledge(
                    fingerprint, ack, lambda connection: _record(connection, now, fingerprint, silence, ack)
                )
            except StoreError:
                self._let_go(alertmanager, silence)
                raise
        self._wake(told)
        return Taken(fingerprint, silence, by, until, told, ack.undo_url)

    def undo(self, by: str, *, fingerprint: str | None = None, silence: str | None = None) -> Taken:
        """End the ack of an alert, or the one with this silence; who was told is told again that the alert fires.

        Raises NotThere, AlertmanagerUnavailable and StoreError.
        """
        with self._asking() as alertmanager:
            held = self._held(acks.c.silence == silence if silence else acks.c.fingerprint == fingerprint)
            if held is None:
                raise NotThere("no ack of this alert holds any more")
            alertmanager.expire(held.silence)
            told = self._end(held, by)
        return Taken(held.fingerprint, held.silence, held.by, held.until, told, "")

    def review(self) -> None:
        """Take over what people did at Alertmanager: an ack whose silence was ended there holds no longer.

        Raises StoreError. What Alertmanager doesn't answer now it is asked the next time.
        """
        if self._alertmanager is None:
            return
        self._alertmanager.tidy()
        with self._database.read() as connection:
            holding = connection.execute(select(acks).where(self._holds())).all()
        try:
            for held in holding:
                if not self._alertmanager.holds(held.silence):
                    self._end(held, "someone at Alertmanager")
                    log.info("an ack was ended at Alertmanager", silence=held.silence)
        except AlertmanagerUnavailable as error:
            log.debug("acks not compared with Alertmanager", error=str(error))

    def holding(self, silence: str) -> Row[Any]:
        """The row of the ack with this silence; raises NotThere when it doesn't hold any more."""
        held = self._held(acks.c.silence == silence)
        if held is None:
            raise NotThere("no ack of this alert holds any more")
        return held

    @contextlib.contextmanager
    def _asking(self) -> Iterator[Alertmanager]:
        if self._alertmanager is None:
            raise AlertmanagerUnavailable(
                "acks need Alertmanager: set alert_bridge.alertmanager.url; until then silence it there by hand"
            )
        if not self._places.acquire(blocking=False):
            raise AlertmanagerUnavailable("several acks already wait for Alertmanager: try again in a moment")
        try:
            # One after the other, so that a double click prolongs a silence instead of making two.
            with self._lock:
                yield self._alertmanager
        finally:
            self._places.release()

    def _end(self, held: Row[Any], by: str) -> tuple[str, ...]:
        """Record it and tell who was told, unless somebody else did so meanwhile."""

        def record(connection: Connection) -> bool:
            now = self._clock()
            still = and_(acks.c.id == held.id, acks.c.undone_at.is_(None))
            if connection.execute(update(acks).where(still).values(undone_at=now)).rowcount == 0:
                return False
            events.record(connection, now, "ack_undone", fingerprint=held.fingerprint, by=by)
            return True

        told = self._outbox.acknowledge(held.fingerprint, None, record)
        self._wake(told)
        return told

    def _holds(self) -> ColumnElement[bool]:
        return and_(acks.c.until > self._clock(), acks.c.undone_at.is_(None))

    def _alert(self, fingerprint: str) -> Alert:
        """As last told, by an incident in which it fires, if there is one."""
        mine = select(alerts.c.body).where(alerts.c.fingerprint == fingerprint).order_by(alerts.c.id.desc()).limit(1)
        fires = mine.where(alerts.c.id.in_(select(firing.c.alert_id).where(firing.c.fingerprint == fingerprint)))
        with self._database.read() as connection:
            body = connection.scalar(fires) or connection.scalar(mine)
        if body is None:
            raise NotThere(f"no alert with the fingerprint {fingerprint} has been told of")
        return msgspec.json.decode(body, type=Alert)

    def _held(self, condition: ColumnElement[bool]) -> Row[Any] | None:
        query = select(acks).where(condition, self._holds()).order_by(acks.c.id.desc()).limit(1)
        with self._database.read() as connection:
            return connection.execute(query).one_or_none()

    def _let_go(self, alertmanager: Alertmanager, silence: str) -> None:
        try:
            alertmanager.expire(silence)
        except AlertmanagerUnavailable as error:
            log.error("a silence stays that is not recorded: end it at Alertmanager", silence=silence, error=str(error))


def _record(connection: Connection, now: float, fingerprint: str, silence: str, ack: Ack) -> None:
    """One row for each silence; any other of this alert has been replaced by Alertmanager."""
    ended = and_(acks.c.fingerprint == fingerprint, acks.c.until > now, acks.c.undone_at.is_(None))
    connection.execute(update(acks).where(ended, acks.c.silence != silence).values(undone_at=now))
    row: dict[str, object] = {"fingerprint": fingerprint, "by": ack.by, "comment": ack.comment, "at": now}
    row |= {"until": ack.until, "undone_at": None}
    if connection.execute(update(acks).where(acks.c.silence == silence).values(row)).rowcount == 0:
        connection.execute(insert(acks).values(row | {"silence": silence}))
