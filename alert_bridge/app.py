"""The HTTP face: Alertmanager's webhook, and what all answers of the API have in common."""

from __future__ import annotations

from collections.abc import Iterable

from flask import Blueprint, Flask, Response, g, jsonify, request
from werkzeug.exceptions import HTTPException, NotFound, RequestEntityTooLarge, UnsupportedMediaType

from alert_bridge.access import Access
from alert_bridge.audit import WEBHOOK, Denied
from alert_bridge.intake import Intake, TooManyAlerts
from alert_bridge.metrics import BridgeMetrics
from alert_bridge.webhook import InvalidBody
from cloudpulse import logs
from cloudpulse.errors import StoreError
from cloudpulse.traced import ROUTE, SHOWN_PATH, USER

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

SIGNED = ("/ack/", "/undo/")
"""How the paths of signed links begin."""

log = logs.get(__name__)


def create_app(
    intake: Intake, access: Access, metrics: BridgeMetrics, parts: Iterable[Blueprint], *, max_body_bytes: int
) -> Flask:
    """The Flask app of the webhook and these parts; everything under /api/ asks `access` first.

    Alertmanager sends again after a 5xx, never after a 4xx; so the webhook answers 400 and 415 only to what can never
    be taken, and 503 to what is too large: a reload that raises the limit lets it in with the next try.
    """
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = max_body_bytes
    for part in parts:
        app.register_blueprint(part)

    @app.before_request
    def check_access() -> None:
        if request.path.startswith("/api/"):
            g.caller = access.identify(request.environ)
            request.environ[USER] = g.caller.name

    @app.before_request
    def tell_the_route() -> None:
        """For spans and the access log: the path of a signed link is a secret, whatever is asked of it."""
        if request.url_rule is not None:
            request.environ[ROUTE] = request.url_rule.rule
        if request.path.startswith(SIGNED):
            request.environ[SHOWN_PATH] = f"{request.path[: request.path.index('/', 1)]}/…"

    @app.post(WEBHOOK)
    def receive() -> Response:
        if request.content_encoding not in (None, "identity"):
            raise UnsupportedMediaType("Content-Encoding: expected none, as Alertmanager sends it")
        body = request.get_data(cache=False)
        stored = intake.accept(body)
        return jsonify(groupId=stored.group_id, duplicate=stored.duplicate)

    def from_alertmanager() -> bool:
        return request.method == "POST" and request.path == WEBHOOK

    @app.after_request
    def guard(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    @app.errorhandler(RequestEntityTooLarge)
    def too_large(_: RequestEntityTooLarge) -> tuple[Response, int]:
        problem = f"the body is larger than alert_bridge.max_body_bytes ({max_body_bytes})"
        if not from_alertmanager():
            return jsonify(error=problem), 413
        metrics.rejected.labels("too_large").inc()
        hint = "raise alert_bridge.max_body_bytes, or set max_alerts in Alertmanager's webhook_config"
        log.error("webhook not stored; Alertmanager will send it again", error=problem, hint=hint)
        return jsonify(error=problem), 503

    @app.errorhandler(TooManyAlerts)
    def too_many(error: TooManyAlerts) -> tuple[Response, int]:
        return jsonify(error=str(error)), 503

    @app.errorhandler(InvalidBody)
    def invalid(error: InvalidBody) -> tuple[Response, int]:
        return jsonify(error=str(error)), 400

    @app.errorhandler(StoreError)
    def not_stored(error: StoreError) -> tuple[Response, int]:
        return jsonify(error=str(error)), 503

    @app.errorhandler(Denied)
    def denied(error: Denied) -> tuple[Response, int]:
        if from_alertmanager():
            metrics.rejected.labels("unauthorized").inc()
        response = jsonify(error=str(error))
        if error.status == 401:
            response.headers["WWW-Authenticate"] = error.challenge
        return response, error.status

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> Response:
        problem = error.description
        allowed = error.get_response().headers.get("Allow", "")
        if request.url_rule is None and isinstance(error, NotFound):
            problem = (
                "there is nothing at this path: see / and /api/v1/openapi.json for what is, and whether it is whole"
            )
        elif allowed:
            problem = f"this path doesn't take {request.method}: it takes {allowed}"
        response = jsonify(error=problem)
        response.status_code = error.code or 500
        if allowed:
            response.headers["Allow"] = allowed
        return response

    return app
