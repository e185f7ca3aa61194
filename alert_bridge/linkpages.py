"""Pages behind signed links: take alerts, undo it. They need no script, and GET never changes anything, since chat
services open links by themselves."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, request
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from werkzeug.exceptions import BadRequest, HTTPException, RequestEntityTooLarge

from alert_bridge import audit
from alert_bridge.acks import Acks, NotFiring, NotThere, Taken
from alert_bridge.alertmanager import AlertmanagerUnavailable
from alert_bridge.audit import Caller, Denied
from alert_bridge.history import History
from alert_bridge.links import Links
from alert_bridge.story import Standing, Stories
from cloudpulse.durations import Duration
from cloudpulse.errors import CloudPulseError, StoreError

MOST = 50
"""Alerts on a page."""

DURATIONS = ("30m", "1h", "2h", "4h", "8h", "1d")

_PAGES = Path(__file__).parent / "pages"
_STYLE = (_PAGES / "link.css").read_text(encoding="utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_TEMPLATE = Environment(loader=FileSystemLoader(_PAGES), autoescape=True, trim_blocks=True).get_template("link.html")


@dataclass(frozen=True)
class Shown:
    """An alert on a page; one that is `taken` already is offered, too, but not ticked."""

    fingerprint: str
    name: str
    summary: str
    labels: tuple[tuple[str, str], ...]
    state: str
    choosable: bool
    taken: bool = False
    undo_url: str = ""


def link_pages(links: Links, acks: Acks, history: History, stories: Stories, on_denied: audit.OnDenied) -> Blueprint:
    """`/ack/…` and `/undo/…`."""
    pages = Blueprint("links", __name__)

    def ack_asked(notification_id: str, expires: str, signature: str) -> list[dict[str, Any]]:
        links.check("ack", notification_id, expires, signature)
        found = history.notification(int(notification_id))
        if found is None:
            raise NotThere("this message is no longer kept: see Alertmanager for what fires")
        told: Any = found["alerts"]
        return list({alert["fingerprint"]: alert for alert in told}.values())[:MOST]

    @pages.get("/ack/<notification_id>/<expires>/<signature>")
    def show(notification_id: str, expires: str, signature: str) -> Response:
        shown = [
            _shown(alert, stories.standing(alert["fingerprint"]))
            for alert in ack_asked(notification_id, expires, signature)
        ]
        return _page(**_offer(shown, acks))

    @pages.post("/ack/<notification_id>/<expires>/<signature>")
    def take(notification_id: str, expires: str, signature: str) -> Response:
        told = ack_asked(notification_id, expires, signature)
        chosen = [one["fingerprint"] for one in told if one["fingerprint"] in request.form.getlist("alert")]
        done, problems = _take(acks, chosen, f"notification {notification_id}")
        shown = [_shown(one, stories.standing(one["fingerprint"]), done.get(one["fingerprint"])) for one in told]
        title = "Taken" if done else "Nothing taken"
        return _page(title, alerts=shown, problems=problems, status=503 if problems else 200)

    @pages.get("/undo/<silence>/<expires>/<signature>")
    def ask_undo(silence: str, expires: str, signature: str) -> Response:
        links.check("undo", silence, expires, signature)
        held = acks.holding(silence)
        told = stories.last(held.fingerprint)
        return _page(
            "Undo this ack?",
            text="The silence at Alertmanager ends, and everyone who was told of the alert is told that it fires.",
            alerts=[replace(_shown(told, stories.standing(held.fingerprint)), choosable=False)] if told else [],
            button="Undo",
        )

    @pages.post("/undo/<silence>/<expires>/<signature>")
    def undo(silence: str, expires: str, signature: str) -> Response:
        links.check("undo", silence, expires, signature)
        by = _field("by", 100)
        undone = acks.undo(by or "someone with the link", silence=silence)
        about = {"alert": {"fingerprint": undone.fingerprint}, "silence": silence, "said": {"by": by}}
        audit.changed(Caller("link:undo"), request.environ, "undo ack", "undone", **about)
        return _page("Undone", text="The silence has ended.")

    @pages.errorhandler(Denied)
    def denied(error: Denied) -> Response:
        on_denied(error, request.environ, "a signed link")
        return _page("This link does not work", problems=[str(error)], status=error.status)

    @pages.errorhandler(RequestEntityTooLarge)
    @pages.errorhandler(HTTPException)
    def not_understood(error: HTTPException) -> Response:
        return _page("That did not work", problems=[error.description or ""], status=error.code or 500)

    @pages.errorhandler(CloudPulseError)
    def failed(error: CloudPulseError) -> Response:
        if request.method == "POST":
            audit.changed(Caller("link"), request.environ, "a signed link", "failed", why={"error": str(error)})
        status = 404 if isinstance(error, NotThere) else 409 if isinstance(error, NotFiring) else 503
        return _page("That did not work", problems=[str(error)], status=status)

    return pages


def _take(acks: Acks, fingerprints: Sequence[str], origin: str) -> tuple[dict[str, Taken], list[str]]:
    """What was taken, and why no more was."""
    seconds, comment, by = _duration(acks), _field("comment", 1000), _field("by", 100)
    done: dict[str, Taken] = {}
    for fingerprint in fingerprints:
        about = {"alert": {"fingerprint": fingerprint}, "told_in": origin, "said": {"by": by, "comment": comment}}
        try:
            taken = acks.take(fingerprint, by or "someone with the link", seconds, comment)
        except (NotFiring, NotThere):
            continue  # the page says that it ended
        except (AlertmanagerUnavailable, StoreError) as error:
            audit.changed(Caller("link:ack"), request.environ, "ack", "failed", **about, why={"error": str(error)})
            return done, [str(error)]
        done[fingerprint] = taken
        audit.changed(Caller("link:ack"), request.environ, "ack", "taken", **about, silence=taken.silence)
    return done, []


def _offer(shown: Sequence[Shown], acks: Acks) -> dict[str, Any]:
    """The page that a link opens; with a button while something can be taken."""
    if not any(alert.choosable for alert in shown):
        return {"title": "Nothing to take", "text": "None of these alerts fires any more.", "alerts": shown}
    if not acks.longest:
        text = "Acks are not set up here (alert_bridge.alertmanager): silence these alerts at Alertmanager."
        return {"title": "Alerts", "text": text, "alerts": shown}
    usual = str(Duration(acks.usual))
    words = {usual: acks.usual} | {word: Duration.parse(word) for word in DURATIONS}
    fitting = sorted((word for word, seconds in words.items() if seconds <= acks.longest), key=words.__getitem__)
    return {
        "title": "Take these alerts?" if len(shown) > 1 else "Take this alert?",
        "text": "Alertmanager keeps quiet about them for so long, and the others are told that you have them.",
        "alerts": shown,
        "button": "Take them" if len(shown) > 1 else "Take it",
        "durations": fitting,
        "duration": usual,
    }


def _shown(alert: dict[str, Any], standing: Standing, taken: Taken | None = None) -> Shown:
    labels, annotations = alert["labels"], alert["annotations"]
    began = f"{datetime.fromisoformat(alert['startsAt']).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    state = f"fires since {began}" if standing.firing else f"has ended; began {began}"
    if standing.taken is not None:
        state += f"; taken by {standing.taken.by} until {datetime.fromtimestamp(standing.taken.until, UTC):%H:%M} UTC"
    return Shown(
        alert["fingerprint"],
        labels.get("alertname", "alert"),
        annotations.get("summary", annotations.get("description", "")),
        tuple(sorted((name, value) for name, value in labels.items() if name != "alertname")),
        state,
        choosable=standing.firing,
        taken=standing.taken is not None,
        undo_url=taken.undo_url if taken is not None else "",
    )


def _duration(acks: Acks) -> float:
    try:
        seconds = Duration.parse(request.form.get("duration", str(Duration(acks.usual))))
    except ValueError as error:
        raise BadRequest(f"duration: {error}") from error
    return min(max(seconds, 60), acks.longest)


def _field(name: str, most: int) -> str:
    return request.form.get(name, "").strip()[:most]


def _page(title: str, status: int = 200, **values: Any) -> Response:
    body = _TEMPLATE.render(title=title, style=Markup(_STYLE), **values)  # noqa: S704  our own file
    return Response(body, status, {"Content-Security-Policy": POLICY}, content_type="text/html; charset=utf-8")
