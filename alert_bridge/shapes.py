"""What the API takes and answers, as types: bodies are decoded into them, and the OpenAPI document is made of them."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from alert_bridge.schema import State
from alert_bridge.webhook import Alert, Status

Moment = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
Verdict = Literal["useful", "noise", "false_alarm"]
"""What a person says of an alert: it helped; it was true and nobody needed it; it was not true."""

Comment = Annotated[str, msgspec.Meta(max_length=1000)]
Name = Annotated[str, msgspec.Meta(max_length=100)]


class _Shape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Names in JSON as Alertmanager writes them."""


class AckRequest(_Shape, frozen=True, forbid_unknown_fields=True):
    """Take an alert; all may be left out. `by` counts only where no API key says who asks."""

    duration: Annotated[str, msgspec.Meta(max_length=40, examples=["2h"])] | None = None
    comment: Comment = ""
    by: Name = ""


class VerdictRequest(_Shape, frozen=True, forbid_unknown_fields=True):
    """Say what an alert was worth. `by` counts only where no API key says who asks."""

    verdict: Verdict
    comment: Comment = ""
    by: Name = ""


class Error(_Shape, frozen=True):
    """Why not, and what to do."""

    error: str


class Accepted(_Shape, frozen=True):
    """The group is on disk."""

    group_id: int
    duplicate: bool


class Retried(_Shape, frozen=True):
    """The notification is due now; `before` is the state that it had."""

    id: int
    before: State


class Recorded(_Shape, frozen=True):
    """Where the verdict is in the list of dismissals."""

    id: int


class AckAnswer(_Shape, frozen=True):
    """An ack: its silence at Alertmanager, who is told of it, and where a person can undo it."""

    fingerprint: str
    silence: str
    by: str
    until: Moment
    receivers: tuple[str, ...]
    undo_url: str


class AckEntry(_Shape, frozen=True):
    """Who has taken an alert, from when and until when; `undoneAt` where it ended before."""

    silence: str
    by: str
    comment: str
    at: Moment
    until: Moment
    undone_at: Moment | None


class Dismissal(_Shape, frozen=True):
    """A verdict, the alert that it is about as last told before it, and who said it."""

    id: int
    fingerprint: str
    alert_id: int | None
    labels: dict[str, str]
    verdict: Verdict
    comment: str
    by: str
    at: Moment


class AlertEntry(Alert, frozen=True, kw_only=True, rename="camel"):
    """One time that Alertmanager told of an alert."""

    id: int
    group_id: int
    incident: str
    stored_at: Moment


class NotificationEntry(_Shape, frozen=True):
    """A notification for one receiver, and what became of it. An `ack` tells that someone has taken the alert.

    Those with the same `summary` went out as one message. `insteadOf` is the receiver that could not be told.
    One that is `muted` tells nobody; until it has a `finishedAt`, it is looked at again at `dueAt`.
    `traceId` is in every log line about it; null where an older version stored it.
    """

    id: int
    group_id: int
    incident: str
    receiver: str
    status: Status
    state: State
    attempts: int
    idempotency_key: str
    ack: bool
    summary: str | None
    instead_of: str | None
    stored_at: Moment
    due_at: Moment | None
    finished_at: Moment | None
    last_error: str | None
    trace_id: str | None


class NotificationDetail(NotificationEntry, frozen=True):
    """One notification with the alerts that it tells of."""

    alerts: tuple[Alert, ...]


class AlertPage(_Shape, frozen=True):
    """Newest first; `before` asks for the next page, null on the last."""

    alerts: tuple[AlertEntry, ...]
    before: int | None


class NotificationPage(_Shape, frozen=True):
    """Newest first; `before` asks for the next page, null on the last."""

    notifications: tuple[NotificationEntry, ...]
    before: int | None


class DismissalPage(_Shape, frozen=True):
    """Newest first; `before` asks for the next page, null on the last."""

    dismissals: tuple[Dismissal, ...]
    before: int | None


class AlertStory(_Shape, frozen=True):
    """One alert: as last told, whether it fires, who has taken it, and what happened, newest first.

    `told` are the times Alertmanager told of it, `notifications` what went to receivers, both of the last hundred.
    """

    fingerprint: str
    firing: bool
    taken: AckEntry | None
    told: tuple[AlertEntry, ...]
    notifications: tuple[NotificationEntry, ...]
    acks: tuple[AckEntry, ...]
    verdicts: tuple[Dismissal, ...]
