"""The HTTP face: Alertmanager's webhook, the history, and a retry by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask, Response, g, jsonify, request
from werkzeug.exceptions import BadRequest, Conflict, HTTPException, NotFound, RequestEntityTooLarge

from alert_bridge import audit
from alert_bridge.access import WEBHOOK, Caller, Denied
from alert_bridge.history import ALERT_FILTERS, NOTIFICATION_FILTERS, History, Page
from alert_bridge.intake import Intake
from alert_bridge.metrics import BridgeMetrics
from alert_bridge.outbox import Outbox
from alert_bridge.schema import DELIVERED
from alert_bridge.webhook import InvalidBody
from cloudpulse import logs
from cloudpulse.errors import StoreError
from cloudpulse.serving import Environ

LIMIT = 100
MOST = 1000
"""Entries on a page: unless told, and at most."""

log = logs.get(__name__)


def create_app(
    intake: Intake,
    outbox: Outbox,
    history: History,
    take_up: Callable[[], None],
    metrics: BridgeMetrics,
    *,
    max_body_bytes: int,
    identify: Callable[[Environ], Caller],
) -> Flask:
    """The Flask app; `identify` raises Denied for who may not ask what they ask, `take_up` looks for what is due.

    Alertmanager sends again after a 5xx, never after a 4xx; so a 4xx here means that sending again can't help.
    """
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = max_body_bytes

    @app.before_request
    def check_access() -> None:
        g.caller = identify(request.environ)

    @app.post("/api/v1/alerts")
    def receive() -> Response:
        body = request.get_data(cache=False)
        if request.content_length is None and len(body) >= max_body_bytes:
            # Without a Content-Length, werkzeug cuts the body at the limit instead of refusing it.
            raise RequestEntityTooLarge
        with logs.correlation("request"):
            stored = intake.accept(body)
        return jsonify(groupId=stored.group_id, duplicate=stored.duplicate)

    @app.get("/api/v1/alerts")
    def list_alerts() -> Response:
        return _answer("alerts", history.alerts(*_page_asked(ALERT_FILTERS)))

    @app.get("/api/v1/notifications")
    def list_notifications() -> Response:
        return _answer("notifications", history.notifications(*_page_asked(NOTIFICATION_FILTERS)))

    @app.post("/api/v1/notifications/<int(max=9223372036854775807):notification_id>/retry")
    def retry(notification_id: int) -> Response:
        before = outbox.retry(notification_id)
        if before is None:
            raise NotFound(f"there is no notification {notification_id}")
        if before == DELIVERED:
            raise Conflict(f"notification {notification_id} is already delivered")
        audit.changed(g.caller, request.environ, "retry", "due now", notification=notification_id, before=before)
        take_up()
        return jsonify(id=notification_id, before=before)

    @app.errorhandler(RequestEntityTooLarge)
    def too_large(_: RequestEntityTooLarge) -> tuple[Response, int]:
        metrics.rejected.labels("too_large").inc()
        log.error("webhook too large", limit_bytes=max_body_bytes, hint="raise alert_bridge.max_body_bytes")
        return jsonify(error=f"the body is larger than max_body_bytes ({max_body_bytes})"), 413

    @app.errorhandler(InvalidBody)
    def invalid(error: InvalidBody) -> tuple[Response, int]:
        return jsonify(error=str(error)), 400

    @app.errorhandler(StoreError)
    def not_stored(error: StoreError) -> tuple[Response, int]:
        return jsonify(error=str(error)), 503

    @app.errorhandler(Denied)
    def denied(error: Denied) -> tuple[Response, int]:
        if request.method == "POST" and request.path == WEBHOOK:
            metrics.rejected.labels("unauthorized").inc()
        response = jsonify(error=str(error))
        if error.status == 401:
            response.headers["WWW-Authenticate"] = error.challenge
        return response, error.status

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> Response:
        response = jsonify(error=error.description)
        response.status_code = error.code or 500
        return response

    return app


def _page_asked(columns: Mapping[str, Any]) -> tuple[dict[str, str], int | None, int]:
    asked = request.args.to_dict()
    before = _number(asked.pop("before", None), "before", most=2**63 - 1)
    limit = _number(asked.pop("limit", None), "limit", most=MOST)
    if unknown := next((name for name in asked if name not in columns), None):
        raise BadRequest(f'unknown parameter "{unknown}", expected {", ".join(columns)}, before or limit')
    return asked, before, LIMIT if limit is None else limit


def _number(text: str | None, name: str, most: int) -> int | None:
    if text is None:
        return None
    if len(text) > 19 or not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= most:
        raise BadRequest(f'{name}: expected a whole number from 1 to {most}, got "{text[:50]}"')
    return int(text)


def _answer(name: str, page: Page) -> Response:
    return jsonify({name: page.entries, "before": page.before})
