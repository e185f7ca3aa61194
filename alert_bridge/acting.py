"""The changing half of the API: retry, ack and its undoing, verdicts. Each change leaves an audit line."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec
from flask import Blueprint, Response, g, jsonify, request
from werkzeug.exceptions import BadRequest, Conflict, NotFound, UnsupportedMediaType

from alert_bridge import audit
from alert_bridge.acks import Acks, NotFiring, NotThere, Taken
from alert_bridge.alertmanager import AlertmanagerUnavailable
from alert_bridge.dismissals import Dismissals
from alert_bridge.history import moment
from alert_bridge.outbox import Outbox, Outdated
from alert_bridge.parameters import LARGEST_ID
from alert_bridge.schema import DELIVERED
from alert_bridge.shapes import AckRequest, VerdictRequest
from cloudpulse.durations import Duration
from cloudpulse.errors import CloudPulseError, StoreError

T = TypeVar("T")

SHORTEST_SECONDS = 60


def acting(outbox: Outbox, acks: Acks, dismissals: Dismissals, take_up: Callable[[], None]) -> Blueprint:
    """Everything that POST and DELETE do, but for the webhook; `take_up` looks for what is due."""
    pages = Blueprint("acting", __name__)

    @pages.post(f"/api/v1/notifications/<int(max={LARGEST_ID}):notification_id>/retry")
    def retry(notification_id: int) -> Response:
        before = outbox.retry(notification_id)
        if before is None:
            raise NotFound(f"there is no notification {notification_id}")
        if before == DELIVERED:
            raise Conflict(f"notification {notification_id} is already delivered")
        audit.changed(g.caller, request.environ, "retry", "due now", notification=notification_id, before=before)
        take_up()
        return jsonify(id=notification_id, before=before)

    @pages.post("/api/v1/alerts/<fingerprint>/ack")
    def ack(fingerprint: str) -> Response:
        asked = _body(AckRequest)
        by = g.caller.person(asked.by)
        taken = acks.take(fingerprint, by, _duration(asked.duration, acks), asked.comment)
        said = {"by": asked.by, "comment": asked.comment}
        audit.changed(g.caller, request.environ, "ack", f"until {moment(taken.until)}", **_about(taken), said=said)
        return _ack_answer(taken)

    @pages.delete("/api/v1/alerts/<fingerprint>/ack")
    def undo(fingerprint: str) -> Response:
        undone = acks.undo(g.caller.person(""), fingerprint=fingerprint)
        audit.changed(g.caller, request.environ, "undo ack", "undone", **_about(undone))
        return _ack_answer(undone)

    @pages.post("/api/v1/alerts/<fingerprint>/verdict")
    def verdict(fingerprint: str) -> tuple[Response, int]:
        asked = _body(VerdictRequest)
        made = dismissals.record(fingerprint, asked.verdict, g.caller.person(asked.by), asked.comment)
        said = {"by": asked.by, "comment": asked.comment}
        about = {"alert": {"fingerprint": fingerprint}, "dismissal": made}
        audit.changed(g.caller, request.environ, "verdict", asked.verdict, **about, said=said)
        return jsonify(id=made), 201

    @pages.errorhandler(NotThere)
    @pages.errorhandler(NotFiring)
    @pages.errorhandler(Outdated)
    @pages.errorhandler(AlertmanagerUnavailable)
    @pages.errorhandler(StoreError)
    def failed(error: CloudPulseError) -> tuple[Response, int]:
        action = str(request.endpoint).partition(".")[2]
        # In a dict both log formats escape it: the path's fingerprint is in it.
        audit.changed(g.caller, request.environ, action, "failed", why={"error": str(error)})
        status = 404 if isinstance(error, NotThere) else 409 if isinstance(error, NotFiring | Outdated) else 503
        return jsonify(error=str(error)), status

    return pages


def _body(kind: type[T]) -> T:
    """The request's JSON, an empty body being an empty object; raises BadRequest and UnsupportedMediaType."""
    body = request.get_data(cache=False)
    if body and not request.is_json:
        raise UnsupportedMediaType("expected Content-Type: application/json")
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"the body: {error}") from error
    except RecursionError as error:
        raise BadRequest("the body: nested too deeply") from error


def _duration(text: str | None, acks: Acks) -> float:
    if text is None or not acks.longest:
        return acks.usual
    try:
        seconds = Duration.parse(text)
    except ValueError as error:
        raise BadRequest(f"duration: {error}") from error
    if not SHORTEST_SECONDS <= seconds <= acks.longest:
        raise BadRequest(f'duration: expected 1m to {Duration(acks.longest)} (alertmanager.ack_at_most), got "{text}"')
    return seconds


def _about(taken: Taken) -> dict[str, object]:
    return {"alert": {"fingerprint": taken.fingerprint}, "silence": taken.silence, "told": list(taken.receivers)}


def _ack_answer(taken: Taken) -> Response:
    return jsonify(
        fingerprint=taken.fingerprint,
        silence=taken.silence,
        by=taken.by,
        until=moment(taken.until),
        receivers=taken.receivers,
        undoUrl=taken.undo_url,
    )
