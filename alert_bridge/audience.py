"""Who was told of an alert, and so must hear how it goes on, whatever the routes say by then.

Functions within a transaction of the outbox. An alert that fires in a mute route is kept as a MUTED notification, which
nobody is told and which holds up no other; `release` tells those that still fire when the mute time ends. An alert that
ended is told to everyone whose last word on it is that it fires: in a mute route, after a change of the routes, and to
the fallback that was told instead of a receiver.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, func, or_, select, update

from alert_bridge import webhook
from alert_bridge.queueing import Due
from alert_bridge.schema import DELIVERED, FIRING, MUTED, PENDING, alerts, claimed, muted, notifications, pending
from alert_bridge.webhook import AlertGroup

LOOK_BACK = 100
"""To a receiver of an incident, which are searched for an alert: Alertmanager names all that fire in each."""

LONGEST_MUTED = 86400 + 60
"""Seconds until what a mute route keeps is looked at again, at most (Calendar.quiet_until)."""

RELEASED_AT_ONCE = 500

Routing = Callable[[Mapping[str, str], float], Mapping[str, float]]
"""Where labels go at a time: receiver -> muted until, or 0."""


@dataclass(frozen=True)
class Told:
    """What a receiver was told last of an alert, and whether that was `instead_of` another receiver."""

    firing: bool
    instead_of: str | None


@dataclass(frozen=True)
class _Member:
    id: int
    fingerprint: str
    firing: bool


def of(
    connection: Connection,
    group_id: int,
    group: AlertGroup,
    deliveries: Mapping[str, Sequence[int]],
    receivers: Collection[str],
) -> list[Due]:
    """Who is told what of a group that was just stored: the `deliveries`, and each end to those who know that it fires.

    Whoever hears only of ends hears with them what still fires by what it was told, though that may be muted for it, or
    routed elsewhere by now: else it would take the incident for over.
    """
    found = {name: Due(group_id, mine, name, group.incident) for name, mine in deliveries.items()}
    ended = {position for position, alert in enumerate(group.alerts) if not alert.firing}
    if not ended:
        return list(found.values())
    told_before = notifications.c.incident == group.incident, notifications.c.state != MUTED
    known = connection.scalars(select(notifications.c.receiver).where(*told_before).distinct()).all()
    for receiver in sorted({*known}.intersection(receivers)):
        mine = set(deliveries.get(receiver, ()))
        ends_alone = mine <= ended and len(ended) < len(group.alerts)
        if ended <= mine and not ends_alone:
            continue
        told = last_told(connection, group.incident, receiver)
        names = [alert.fingerprint for alert in group.alerts]
        fires = {position: told[name] for position, name in enumerate(names) if _fires(told, name)}
        mine |= ended & fires.keys()
        if mine and mine <= ended:
            mine |= fires.keys()
        if mine:
            others = () if receiver in deliveries else {fires[position].instead_of for position in mine}
            instead = next((other for other in others if other is not None), None)
            found[receiver] = Due(group_id, sorted(mine), receiver, group.incident, instead_of=instead)
    return list(found.values())


def last_told(connection: Connection, incident: str, receiver: str) -> dict[str, Told]:
    """Fingerprint -> the last that was stored for the receiver about that alert."""
    stored = (
        select(notifications.c.group_id, notifications.c.positions, notifications.c.instead_of)
        .where(
            notifications.c.incident == incident,
            notifications.c.receiver == receiver,
            notifications.c.state != MUTED,
            notifications.c.ack.is_(None),
        )
        .order_by(notifications.c.id.desc())
        .limit(LOOK_BACK)
    )
    rows = connection.execute(stored).all()
    members = _members(connection, {row.group_id for row in rows})
    found: dict[str, Told] = {}
    for row in rows:
        for position in msgspec.json.decode(row.positions, type=list[int]):
            alert = members[row.group_id][position]
            found.setdefault(alert.fingerprint, Told(alert.firing, row.instead_of))
    return found


def release(connection: Connection, now: float, route: Routing) -> list[Due]:
    """What of the muted is to be told now, or muted for longer: alerts that still fire, as they were stored last."""
    # Later than any mute route asks for: the clock was set back.
    moment = or_(notifications.c.due_at <= now, notifications.c.due_at > now + LONGEST_MUTED)
    due = muted(notifications), notifications.c.finished_at.is_(None), moment
    ids = connection.scalars(
        select(notifications.c.id).where(*due).order_by(notifications.c.id).limit(RELEASED_AT_ONCE)
    )
    taken = (
        update(notifications)
        .where(notifications.c.id.in_(ids.all()), *due)
        .values(finished_at=now)
        .returning(notifications.c.incident, notifications.c.group_id, notifications.c.positions)
    )
    by_incident: dict[str, list[Row[*tuple[Any, ...]]]] = {}
    for row in connection.execute(taken).all():
        by_incident.setdefault(row.incident, []).append(row)
    return [
        one for incident, rows in by_incident.items() for one in _still_firing(connection, now, incident, rows, route)
    ]


def instead(connection: Connection, receiver: str, dead: int, fallback: str | None) -> list[Due]:
    """What a receiver's `fallback` is to be told instead of the receiver that could not be told of `dead` (an id).

    With the ends of these alerts that were stored for the receiver since, since those may well reach it, and with each
    end what of all this, and of what the fallback was told itself, still fires. Who took an alert isn't told: the alert
    itself reached the receiver.
    """
    table = notifications.c
    columns = (table.id, table.group_id, table.positions, table.incident)
    this = connection.execute(select(*columns, table.ack).where(table.id == dead)).one()
    if this.ack is not None or fallback is None:
        return []
    since = select(*columns).where(
        notifications.c.receiver == receiver,
        notifications.c.incident == this.incident,
        notifications.c.id > dead,
        notifications.c.state.in_([PENDING, DELIVERED]),
        notifications.c.ack.is_(None),
    )
    rows = [this, *connection.execute(since.order_by(notifications.c.id).limit(LOOK_BACK)).all()]
    members = _members(connection, {row.group_id for row in rows})
    positions = {row.id: msgspec.json.decode(row.positions, type=list[int]) for row in rows}
    meant = {members[this.group_id][position].fingerprint for position in positions[dead]}
    fires = {name for name, told in last_told(connection, this.incident, fallback).items() if told.firing}
    fires |= {member.fingerprint for member in members[this.group_id] if member.fingerprint in meant and member.firing}
    found = []
    for row in rows:
        alerts_of = members[row.group_id]
        mine = {
            position
            for position in positions[row.id]
            if row.id == dead or (alerts_of[position].fingerprint in meant and not alerts_of[position].firing)
        }
        if not any(alerts_of[position].firing for position in mine):
            fires -= {alerts_of[position].fingerprint for position in mine}
            still = {at for at, member in enumerate(alerts_of) if member.firing and member.fingerprint in fires}
            mine |= still if mine else set()
        already = select(notifications.c.positions).where(
            notifications.c.group_id == row.group_id,
            notifications.c.receiver == fallback,
            notifications.c.state != MUTED,
            notifications.c.ack.is_(None),
        )
        known = {one for text in connection.scalars(already) for one in msgspec.json.decode(text, type=list[int])}
        if not known.issuperset(mine):
            found.append(Due(row.group_id, sorted(mine), fallback, row.incident, instead_of=receiver))
    return found


def changed_since(connection: Connection, notification_id: int) -> list[str]:
    """Fingerprints of which a receiver would believe what isn't so, were it told of this notification now.

    What waits for it after this one, and is not under way, is told after it and counts.
    """
    table = notifications.c
    columns = (table.id, table.receiver, table.group_id, table.positions, table.incident)
    this = connection.execute(select(*columns).where(table.id == notification_id)).one()
    after = select(*columns).where(
        pending(notifications),
        ~claimed(notifications),
        table.receiver == this.receiver,
        table.incident == this.incident,
        table.id > this.id,
        table.ack.is_(None),
    )
    rows = [this, *connection.execute(after.order_by(table.id)).all()]
    members = _members(connection, {row.group_id for row in rows})
    told = {
        (member := members[row.group_id][position]).fingerprint: member.firing
        for row in rows
        for position in msgspec.json.decode(row.positions, type=list[int])
    }
    meant = [members[this.group_id][position].fingerprint for position in msgspec.json.decode(this.positions)]
    so = {row.fingerprint: row.status == FIRING for row in _latest(connection, this.incident, meant)}
    return [name for name in meant if so.get(name, told[name]) != told[name]]


def _fires(told: Mapping[str, Told], fingerprint: str) -> bool:
    return fingerprint in told and told[fingerprint].firing


def _still_firing(
    connection: Connection, now: float, incident: str, rows: Sequence[Row[*tuple[Any, ...]]], route: Routing
) -> list[Due]:
    members = _members(connection, {row.group_id for row in rows})
    kept = {
        members[row.group_id][position].fingerprint
        for row in rows
        for position in msgspec.json.decode(row.positions, type=list[int])
    }
    latest = _latest(connection, incident, kept)
    members |= _members(connection, {row.group_id for row in latest} - members.keys())
    told: dict[str, dict[str, Told]] = {}
    found: dict[tuple[str, int, float], list[int]] = {}
    for alert in latest:
        if alert.status != FIRING:
            continue
        position = [member.id for member in members[alert.group_id]].index(alert.id)
        for receiver, until in route(webhook.alert(alert.body).labels, now).items():
            if receiver not in told:
                told[receiver] = last_told(connection, incident, receiver)
            if not _fires(told[receiver], alert.fingerprint):
                found.setdefault((receiver, alert.group_id, until), []).append(position)
    return [
        Due(group_id, positions, receiver, incident, until) for (receiver, group_id, until), positions in found.items()
    ]


def _latest(connection: Connection, incident: str, fingerprints: Collection[str]) -> Sequence[Row[Any]]:
    """The rows of these alerts as they were stored last in the incident."""
    newest = (
        select(func.max(alerts.c.id))
        .where(alerts.c.incident == incident, alerts.c.fingerprint.in_(fingerprints))
        .group_by(alerts.c.fingerprint)
    )
    return connection.execute(select(alerts).where(alerts.c.id.in_(newest)).order_by(alerts.c.id)).all()


def _members(connection: Connection, group_ids: Collection[int]) -> dict[int, list[_Member]]:
    """The alerts of each group in their order."""
    columns = (alerts.c.id, alerts.c.group_id, alerts.c.fingerprint, alerts.c.status)
    found: dict[int, list[_Member]] = {}
    for row in connection.execute(select(*columns).where(alerts.c.group_id.in_(group_ids)).order_by(alerts.c.id)):
        found.setdefault(row.group_id, []).append(_Member(row.id, row.fingerprint, row.status == FIRING))
    return found
