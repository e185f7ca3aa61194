"""Links for people: signed, so that who was told of an alert may act on it from the message itself, for some time."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Literal

import msgspec
from sqlalchemy import Connection, insert, select

from alert_bridge.audit import Denied
from alert_bridge.database import Database
from alert_bridge.notifier import Notification
from alert_bridge.schema import keys
from cloudpulse.clock import Clock

Kind = Literal["ack", "undo"]


class Links:
    """Makes and checks them. A link holds its end and a signature (HMAC-SHA256, 128 bits of it) under the `key`.

    Whoever has a link may do what it says, as with a message's own button; so it ends after `seconds`. Without an
    `external_url`, under which people reach the bridge, there are none.
    """

    def __init__(self, external_url: str | None, key: str, seconds: float, clock: Clock) -> None:
        self._base = external_url.rstrip("/") if external_url is not None else None
        self._key = key.encode()
        self._seconds = seconds
        self._clock = clock

    def ack(self, notification: Notification) -> str:
        """Where to take what this notification tells of; empty when nothing of it fires, or it stands for many.

        The same for every attempt, since a repeated delivery tells the same.
        """
        if notification.summary is not None or not any(alert.firing for alert in notification.group.alerts):
            return ""
        return self._link("ack", str(notification.id), notification.stored_at + self._seconds)

    def undo(self, silence: str, until: float) -> str:
        """Where to undo an ack that holds until then (Unix seconds)."""
        return self._link("undo", silence, until)

    def check(self, kind: Kind, subject: str, expires: str, signature: str) -> None:
        """Raises Denied for a link that isn't ours or is too old."""
        if not hmac.compare_digest(self._signature(kind, subject, expires).encode(), signature.encode()):
            raise Denied(403, "bad_link", "this link isn't whole: open it again from the message")
        if self._clock() > int(expires):
            raise Denied(403, "bad_link", "this link is too old: use a newer message, or Alertmanager itself")

    def _link(self, kind: Kind, subject: str, expires: float) -> str:
        if self._base is None:
            return ""
        until = str(int(expires))
        return f"{self._base}/{kind}/{subject}/{until}/{self._signature(kind, subject, until)}"

    def _signature(self, kind: Kind, subject: str, expires: str) -> str:
        text = msgspec.json.encode([kind, subject, expires])
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()[:32]


def signing_key(database: Database) -> str:
    """The key of this database, made when it is first asked for."""

    def operation(connection: Connection) -> str:
        known: str | None = connection.scalar(select(keys.c.value).where(keys.c.name == "links"))
        if known is None:
            known = secrets.token_hex(32)
            connection.execute(insert(keys).values(name="links", value=known))
        return known

    return database.write(operation)
