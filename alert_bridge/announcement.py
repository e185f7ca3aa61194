"""Events as the stream tells them: one JSON text each, `{id, at, kind, ...}`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from alert_bridge.events import Event, Kind
from alert_bridge.schema import alerts, groups

LARGEST = 256 * 1024
"""Bytes of a group's alerts in one message, half of what it has at most; the package websockets refuses 1 MiB."""


@dataclass(frozen=True)
class Announcement:
    """One event: `receiver` is whom a delivery was for, None for other kinds."""

    id: int
    kind: Kind
    receiver: str | None
    text: str


def announcements(connection: Connection, events: Sequence[Event]) -> Iterator[Announcement]:
    """Each event told; of "alerts" the group as it came. One whose group isn't kept any more is left out."""
    bodies = {event.id: msgspec.json.decode(event.body, type=dict[str, Any]) for event in events}
    wanted = [bodies[event.id]["groupId"] for event in events if event.kind == "alerts"]
    told = _groups(connection, wanted) if wanted else {}
    for event in events:
        body = bodies[event.id]
        if event.kind == "alerts":
            if (group := told.get(body["groupId"])) is None:
                continue
            body = body | group
        frame = {"id": event.id, "at": moment(event.at), "kind": event.kind}
        text = msgspec.json.encode(frame | body)
        if len(text) > 2 * LARGEST:
            text = msgspec.json.encode(frame | _bare(body))
        yield Announcement(event.id, event.kind, body.get("receiver"), text.decode())


def moment(seconds: float) -> str:
    """A time as the API shows it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _bare(body: Mapping[str, Any]) -> dict[str, object]:
    """What is left of a message that labels of an enormous size are in."""
    kept = {
        name: value for name, value in body.items() if len(str(value)) < 1000 and not isinstance(value, dict | list)
    }
    return kept | {"alerts": [], "omitted": body["omitted"] + len(body["alerts"])} if "alerts" in body else kept


class _Frame(msgspec.Struct, rename="camel"):
    """What is told of a group beside its alerts; the rest of its body is passed over."""

    status: str
    group_labels: dict[str, str]
    common_labels: dict[str, str]


def _groups(connection: Connection, ids: Sequence[int]) -> Mapping[int, dict[str, object]]:
    """Group id -> its part of a message."""
    rows = connection.execute(
        select(alerts.c.group_id, alerts.c.body).where(alerts.c.group_id.in_(ids)).order_by(alerts.c.id)
    )
    bodies: dict[int, list[str]] = {}
    for group_id, body in rows:
        bodies.setdefault(group_id, []).append(body)
    found = connection.execute(select(groups.c.id, groups.c.incident, groups.c.body).where(groups.c.id.in_(ids)))
    return {row.id: _group(row.incident, row.body, bodies.get(row.id, [])) for row in found}


def _group(incident: str, body: str, alerts_told: Iterable[str]) -> dict[str, object]:
    frame = msgspec.json.decode(body, type=_Frame)
    shown: list[msgspec.Raw] = []
    size = omitted = 0
    for alert in alerts_told:
        encoded = alert.encode()
        size += len(encoded)
        if size > LARGEST:
            omitted += 1
        else:
            shown.append(msgspec.Raw(encoded))
    return {
        "incident": incident,
        "status": frame.status,
        "groupLabels": frame.group_labels,
        "commonLabels": frame.common_labels,
        "alerts": shown,
        "omitted": omitted,
    }
