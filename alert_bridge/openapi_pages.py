"""The OpenAPI document's part beside the JSON API: the stream, pages for people, and what every service shows."""

from __future__ import annotations

from typing import Any

from alert_bridge.events import KINDS
from alert_bridge.live import MOST_BACK

Json = dict[str, Any]

HTML, TEXT = "text/html", "text/plain"

STREAM = """A WebSocket (RFC 6455) of events, each a JSON text: `id`, `at` and `kind`, which is one of
{kinds}, with what belongs to it; first `hello`, or `reset` where events after the id asked for are no longer kept.
An API key may come as the subprotocol `cloudpulse.key.THE_KEY` beside `cloudpulse.v1`, since a browser can't set
headers here. The bridge closes with 1001 when it stops, 1008 when the key was revoked, 1013 for a client that is too
slow: come back with `after` and the last id.""".format(kinds=", ".join(KINDS)).replace("\n", " ")


def pages() -> Json:
    """Path -> method -> operation."""
    link = "A signed link from a message; opening it changes nothing"
    return {
        "/api/v1/stream": {"get": _stream()},
        "/api/v1/openapi.json": {
            "get": {
                "operationId": "showDocument",
                "summary": "This document",
                "responses": {"200": _answer("application/json"), "401": _error(), "403": _error()},
            }
        },
        "/ack/{id}/{expires}/{signature}": {
            "get": _open("askAck", link, 400, 403, 404, 503, path=("id", "expires", "signature")),
            "post": _open(
                "takeByLink",
                "Take the alerts that are ticked",
                400,
                403,
                404,
                413,
                503,
                path=("id", "expires", "signature"),
                form={"alert": _LIST, "duration": _WORD, "comment": _WORD, "by": _WORD},
            ),
        },
        "/undo/{silence}/{expires}/{signature}": {
            "get": _open("askUndo", link, 403, 404, 503, path=("silence", "expires", "signature")),
            "post": _open(
                "undoByLink",
                "Undo the ack",
                403,
                404,
                413,
                503,
                path=("silence", "expires", "signature"),
                form={"by": _WORD},
            ),
        },
        "/stream": {"get": _open("showStream", "The stream as a page")},
        "/stream.js": {"get": _open("streamScript", "Its script", kind="text/javascript")},
        "/stream.css": {"get": _open("streamStyle", "Its style", kind="text/css")},
        "/": {"get": _open("showLanding", "What there is")},
        "/metrics": {"get": _open("showMetrics", "Metrics, as Prometheus scrapes them", kind=TEXT)},
        "/health": {"get": _open("showHealth", "Whether alerts can be taken, and why not", 503, kind=_JSON)},
        "/-/healthy": {"get": _open("isHealthy", "Whether the process answers", kind=TEXT)},
        "/-/ready": {"get": _open("isReady", "Whether alerts can be taken", 503, kind=TEXT)},
        "/-/reload": {
            "post": _open(
                "reload",
                "Take up the config anew; only there with --web.enable-lifecycle",
                401,
                403,
                404,
                500,
                kind=TEXT,
            )
        },
    }


_JSON = "application/json"
_WORD: Json = {"type": "string"}
_LIST: Json = {"type": "array", "items": _WORD}
_NUMBER: Json = {"type": "integer", "minimum": 0}
_PART: Json = {"type": "string", "minLength": 1, "pattern": "^[^/]+$"}
_TOLD = {
    400: "The question can't be understood.",
    401: "No credentials, or wrong ones.",
    403: "These credentials, or this link, may not do this.",
    404: "There is no such thing.",
    413: "The body is larger than the config allows.",
    426: "Only a WebSocket is to be had here.",
    500: "The config was refused, and the one before goes on.",
    503: "Not now.",
}


def _stream() -> Json:
    parameters = {
        "after": (_NUMBER, "From the event after this id on."),
        "last": ({"type": "integer", "minimum": 0, "maximum": MOST_BACK}, "So many events from before first."),
        "kinds": (_WORD, "Only these, with commas between them."),
        "receiver": (_WORD, "Of deliveries only those to these receivers, with commas between them."),
    }
    return {
        "operationId": "listen",
        "summary": "Everything that happens, as it happens",
        "description": STREAM,
        "parameters": [
            {"name": name, "in": "query", "schema": schema, "description": description}
            for name, (schema, description) in parameters.items()
        ],
        "responses": {
            "101": {"description": "The stream begins."},
            **{str(status): _answer(TEXT, _TOLD[status]) for status in (400, 401, 403, 426, 503)},
        },
    }


def _open(
    name: str, summary: str, *refusals: int, kind: str = HTML, path: tuple[str, ...] = (), form: Json | None = None
) -> Json:
    """An operation that asks for no key."""
    made: Json = {
        "operationId": name,
        "summary": summary,
        "security": [],
        "parameters": [
            {
                "name": part,
                "in": "path",
                "required": True,
                "schema": _PART,
            }
            for part in path
        ],
        "responses": {
            "200": _answer(kind),
            **{str(status): _answer(kind, _TOLD[status]) for status in refusals},
        },
    }
    if form is not None:
        fields = {"type": "object", "properties": form}
        made["requestBody"] = {"content": {"application/x-www-form-urlencoded": {"schema": fields}}}
    return made


def _answer(kind: str, description: str = "Done.") -> Json:
    return {"description": description, "content": {kind: {"schema": {} if kind == _JSON else _WORD}}}


def _error() -> Json:
    return {
        "description": "Not with these credentials.",
        "content": {_JSON: {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
