"""Ends of alerts that someone has taken: Alertmanager keeps quiet about what is silenced, so it is asked.

Without this nobody would hear that a taken alert is over, and its incident would stay open at PagerDuty for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
from sqlalchemy import ColumnElement, Connection, func, select

from alert_bridge import webhook
from alert_bridge.alertmanager import Alertmanager, AlertmanagerUnavailable
from alert_bridge.database import Database
from alert_bridge.outbox import Outbox
from alert_bridge.schema import acks, alerts, groups
from alert_bridge.webhook import Alert, AlertGroup
from cloudpulse import logs
from cloudpulse.clock import Clock

MOST = 50
"""Taken alerts that are asked for in one look."""

log = logs.get(__name__)


@dataclass(frozen=True)
class _Incident:
    """What of it fires, as last told; `frame` is its last group without alerts."""

    frame: str
    firing: tuple[Alert, ...]


class Ends:
    """Looks for them; used by one thread.

    Only an alert that an earlier look has seen firing at this Alertmanager can end there: another one's may arrive
    here, too. What ends before the first look, or while the bridge is down, isn't told. Two replicas that find the same
    store it once, as they do with an HA pair.
    """

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        alertmanager: Alertmanager,
        wake: Callable[[Iterable[str]], None],
        clock: Clock,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._alertmanager = alertmanager
        self._wake = wake
        self._clock = clock
        self._seen: set[str] = set()

    def look(self) -> None:
        """Tell those that were told of a taken alert that it ended. Raises StoreError."""
        with self._database.read() as connection:
            taken = _taken(connection, self._clock())
        self._seen &= taken.keys()
        ended = set()
        try:
            for fingerprint, labels in taken.items():
                if self._alertmanager.fires(fingerprint, labels):
                    self._seen.add(fingerprint)
                elif fingerprint in self._seen:
                    ended.add(fingerprint)
        except AlertmanagerUnavailable as error:
            log.info("ends of taken alerts not looked for", error=str(error))
        if not ended:
            return
        with self._database.read() as connection:
            names = {name for name, _ in _firing(connection, alerts.c.fingerprint.in_(ended))}
            incidents = [_incident(connection, name) for name in sorted(names)]
        for one in incidents:
            self._tell(one, ended)

    def _tell(self, incident: _Incident, ended: set[str]) -> None:
        now = datetime.fromtimestamp(self._clock(), UTC)
        told = tuple(
            msgspec.structs.replace(alert, status="resolved", ends_at=now) if alert.fingerprint in ended else alert
            for alert in incident.firing
        )
        # To nobody by the routes: who was told that it fires, the outbox knows.
        self._wake(self._outbox.store(_group(incident.frame, told), {}).receivers)


def _group(frame: str, told: tuple[Alert, ...]) -> AlertGroup:
    group = webhook.join(frame, ())
    firing = any(alert.firing for alert in told)
    return msgspec.structs.replace(
        group,
        alerts=told,
        status="firing" if firing else "resolved",
        common_labels=webhook.common(alert.labels for alert in told),
        common_annotations=webhook.common(alert.annotations for alert in told),
    )


def _taken(connection: Connection, now: float) -> dict[str, Mapping[str, str]]:
    """Fingerprint -> labels of what is taken now and fires, as last told."""
    held = select(acks.c.fingerprint).where(acks.c.until > now, acks.c.undone_at.is_(None))
    told = _firing(connection, alerts.c.fingerprint.in_(held))
    return {alert.fingerprint: alert.labels for _, alert in told[:MOST]}


def _incident(connection: Connection, name: str) -> _Incident:
    frame = select(groups.c.body).where(groups.c.incident == name).order_by(groups.c.id.desc()).limit(1)
    firing = tuple(alert for _, alert in _firing(connection, alerts.c.incident == name))
    return _Incident(connection.execute(frame).scalar_one(), firing)


def _firing(connection: Connection, which: ColumnElement[bool]) -> list[tuple[str, Alert]]:
    """Incident and alert of those that fire, as last told, the latest last."""
    newest = select(func.max(alerts.c.id)).where(which).group_by(alerts.c.incident, alerts.c.fingerprint)
    query = select(alerts.c.incident, alerts.c.body).where(alerts.c.id.in_(newest), alerts.c.status == "firing")
    return [(row.incident, webhook.alert(row.body)) for row in connection.execute(query.order_by(alerts.c.id))]
