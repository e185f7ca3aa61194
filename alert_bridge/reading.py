"""The reading half of the API: lists with filters and pages, one notification, one alert's story, the document."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify
from werkzeug.exceptions import NotFound

from alert_bridge import openapi
from alert_bridge.history import ALERT_FILTERS, DISMISSAL_FILTERS, NOTIFICATION_FILTERS, History, Page
from alert_bridge.parameters import LARGEST_ID, asked
from alert_bridge.story import Stories


def reading(history: History, stories: Stories) -> Blueprint:
    """Everything that GET answers."""
    pages = Blueprint("reading", __name__)

    @pages.get("/api/v1/alerts")
    def list_alerts() -> Response:
        given = asked((*ALERT_FILTERS, "current"))
        current = given.filters.pop("current", "false") == "true"
        page = history.alerts(given.filters, given.before, given.limit, given.period, current=current)
        return _answer("alerts", page)

    @pages.get("/api/v1/alerts/<fingerprint>")
    def show_alert(fingerprint: str) -> Response:
        asked((), paged=False)
        story = stories.of(fingerprint)
        if story is None:
            raise NotFound(f"no alert with the fingerprint {fingerprint} has been told of")
        return jsonify(story)

    @pages.get("/api/v1/notifications")
    def list_notifications() -> Response:
        given = asked(tuple(NOTIFICATION_FILTERS))
        return _answer("notifications", history.notifications(given.filters, given.before, given.limit, given.period))

    @pages.get(f"/api/v1/notifications/<int(max={LARGEST_ID}):notification_id>")
    def show_notification(notification_id: int) -> Response:
        asked((), paged=False)
        found = history.notification(notification_id)
        if found is None:
            raise NotFound(f"there is no notification {notification_id}")
        return jsonify(found)

    @pages.get("/api/v1/dismissals")
    def list_dismissals() -> Response:
        given = asked(tuple(DISMISSAL_FILTERS))
        return _answer("dismissals", history.dismissals(given.filters, given.before, given.limit, given.period))

    @pages.get("/api/v1/openapi.json")
    def document() -> Response:
        return jsonify(openapi.document())

    return pages


def _answer(name: str, page: Page) -> Response:
    return jsonify({name: page.entries, "before": page.before})
