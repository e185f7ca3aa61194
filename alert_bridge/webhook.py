"""What arrives: Alertmanager's webhook, version 4, as typed values.

Source: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config and, for what the documentation
leaves out, alertmanager's template/template.go. Fields that we don't know are ignored (Alertmanager adds some from
time to time); a known field of another type makes the body invalid.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec

from cloudpulse.errors import CloudPulseError

Status = Literal["firing", "resolved"]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]

_QUOTED = re.compile(r"\\([\\.+*?()|\[\]{}^$])")
_ZERO_YEAR = 1


class InvalidBody(CloudPulseError):
    """A webhook body that can never be valid, however often it is sent."""


class Alert(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One alert of a group. `ends_at` is Go's zero time (year 1) while it fires; times are kept to the microsecond."""

    status: Status
    labels: dict[str, str]
    annotations: dict[str, str] = {}
    starts_at: Moment
    ends_at: Moment
    generator_url: str = msgspec.field(default="", name="generatorURL")
    fingerprint: Annotated[str, msgspec.Meta(min_length=1)]

    @property
    def ended_at(self) -> datetime | None:
        """When it ended; None while it fires."""
        return None if self.ends_at.year == _ZERO_YEAR else self.ends_at

    @property
    def firing(self) -> bool:
        """Whether it still fires: by its own status, not the group's, and always without an end."""
        return self.status == "firing" or self.ended_at is None


class AlertGroup(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One notification of Alertmanager: the alerts of a group, at least one."""

    version: Literal["4"]
    group_key: Annotated[str, msgspec.Meta(min_length=1)]
    receiver: str
    status: Status
    alerts: tuple[Alert, ...]
    group_labels: dict[str, str] = {}
    common_labels: dict[str, str] = {}
    common_annotations: dict[str, str] = {}
    external_url: str = msgspec.field(default="", name="externalURL")
    truncated_alerts: Annotated[int, msgspec.Meta(ge=0)] = 0
    reason: str = msgspec.field(default="", name="notification_reason")

    @property
    def incident(self) -> str:
        """What notifications are kept in order by: the group at its Alertmanager receiver, as 32 hex digits."""
        return _digest([self.receiver, self.group_key])

    @property
    def key(self) -> str:
        """Equal for two posts that tell the same: from both sides of an HA pair, or sent again."""
        told = sorted([a.fingerprint, a.status, a.starts_at.astimezone(UTC).isoformat()] for a in self.alerts)
        return _digest([self.receiver, self.group_key, self.status, told, self.truncated_alerts, self.reason])

    @property
    def over(self) -> bool:
        """Whether nothing fires any more; never while Alertmanager left alerts out, since those may fire."""
        return self.truncated_alerts == 0 and not any(alert.firing for alert in self.alerts)

    def only(self, positions: Sequence[int]) -> AlertGroup:
        """The group as if only the alerts at these positions were in it."""
        if len(positions) == len(self.alerts):
            return self
        alerts = tuple(self.alerts[position] for position in positions)
        return msgspec.structs.replace(
            self,
            alerts=alerts,
            status="firing" if any(alert.firing for alert in alerts) else "resolved",
            common_labels=common(alert.labels for alert in alerts),
            common_annotations=common(alert.annotations for alert in alerts),
        )


_GROUP = msgspec.json.Decoder(AlertGroup)
_ALERT = msgspec.json.Decoder(Alert)


def parse(body: bytes) -> AlertGroup:
    """The group in a webhook's body, its `receiver` as the Alertmanager config spells it; raises InvalidBody."""
    try:
        group = _GROUP.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidBody(f"not an Alertmanager webhook of version 4: {error}") from error
    except RecursionError as error:
        raise InvalidBody("not an Alertmanager webhook of version 4: nested too deeply") from error
    if not group.alerts:
        raise InvalidBody("not an Alertmanager webhook of version 4: `alerts` is empty")
    for index, alert in enumerate(group.alerts):
        try:
            for moment in (alert.starts_at, alert.ended_at):
                _ = moment and moment.astimezone(UTC)
        except OverflowError as error:
            text = f"`alerts[{index}]` has a time outside of the years 1 to 9999 in UTC"
            raise InvalidBody(f"not an Alertmanager webhook of version 4: {text}") from error
    # Alertmanager sends regexp.QuoteMeta of the name: `web\.hook` for web.hook.
    return msgspec.structs.replace(group, receiver=_QUOTED.sub(r"\1", group.receiver))


def split(group: AlertGroup) -> tuple[str, list[str]]:
    """The group without its alerts, and each alert, as JSON texts to keep."""
    frame = msgspec.json.encode(msgspec.structs.replace(group, alerts=()))
    return frame.decode(), [msgspec.json.encode(alert).decode() for alert in group.alerts]


def join(frame: str, alerts: Iterable[str]) -> AlertGroup:
    """What `split` took apart."""
    return msgspec.structs.replace(_GROUP.decode(frame), alerts=tuple(_ALERT.decode(alert) for alert in alerts))


def alert(text: str) -> Alert:
    """One alert of those that `split` gave."""
    return _ALERT.decode(text)


def common(sets: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """What all have in common."""
    first, *others = sets
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}


def _digest(parts: list[object]) -> str:
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]
