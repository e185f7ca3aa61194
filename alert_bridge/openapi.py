"""The API as an OpenAPI 3.1 document, its schemas made of the types in shapes.py and webhook.py."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from alert_bridge import shapes
from alert_bridge.history import ALERT_FILTERS, DISMISSAL_FILTERS, NOTIFICATION_FILTERS
from alert_bridge.openapi_pages import pages
from alert_bridge.parameters import CHOICES, LARGEST_ID, LARGEST_MOMENT, LIMIT, MOST, PAGING
from alert_bridge.webhook import AlertGroup
from cloudpulse import __version__

Json = dict[str, Any]

REFUSALS = {
    400: "The question or the body can't be understood.",
    401: "No credentials, or wrong ones.",
    403: "These credentials may not do this.",
    404: "There is no such thing.",
    409: "Too late: there is nothing left to do.",
    413: "The body is larger than the config allows.",
    415: "The body is of another type than JSON.",
    503: "Not now: the database can't be read or written, Alertmanager didn't answer, or the webhook's body has more "
    "alerts or bytes than the config allows. Nothing was changed.",
}
ALWAYS = (401, 403, 503)

_PARAMETERS: Mapping[str, Json] = {
    "since": {"type": "string", "description": "Stored at that time or later: RFC 3339 or Unix seconds."},
    "until": {"type": "string", "description": "Stored before that time: RFC 3339 or Unix seconds."},
    "before": {"type": "integer", "minimum": 1, "maximum": LARGEST_ID, "description": "The `before` of a page."},
    "limit": {"type": "integer", "minimum": 1, "maximum": MOST, "default": LIMIT, "description": "Entries on a page."},
    "current": {"description": "With true: only what fires now, as last told."},
}
_MOMENT = {
    "anyOf": [
        {"type": "string", "format": "date-time"},
        {"type": "number", "exclusiveMinimum": -LARGEST_MOMENT, "exclusiveMaximum": LARGEST_MOMENT},
    ]
}


@functools.cache
def document() -> Json:
    """The whole document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "CloudPulse alert bridge",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "What Alertmanager told, whom the bridge told, and what people did about it.",
        },
        "paths": {
            path: {method: operation.document(path) for method, operation in methods.items()}
            for path, methods in _OPERATIONS.items()
        }
        | pages(),
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic", "description": "The webhook only."},
            },
        },
        "security": _SECURITY,
    }


@dataclass(frozen=True)
class _Operation:
    """What one method does on one path: the names of the types that it takes and answers, and why it may refuse."""

    name: str
    summary: str
    answer: str
    refusals: tuple[int, ...] = (400,)
    query: tuple[str, ...] = ()
    body: str | None = None
    body_required: bool = True
    code: int = 200
    basic_auth: bool = False

    def document(self, path: str) -> Json:
        answers = {str(self.code): {"description": "Done.", "content": _json(self.answer)}}
        for status in sorted({*self.refusals, *ALWAYS}):
            answers[str(status)] = {"description": REFUSALS[status], "content": _json("Error")}
        made: Json = {
            "operationId": self.name,
            "summary": self.summary,
            "parameters": [
                *(_IN_PATH[name] for name in _IN_PATH if f"{{{name}}}" in path),
                *(_query_parameter(name) for name in self.query),
            ],
            "responses": answers,
        }
        if self.body is not None:
            made["requestBody"] = {"required": self.body_required, "content": _json(self.body)}
        if self.basic_auth:
            made["security"] = [*_SECURITY, {"basic": []}]
        return made


_SECURITY: list[Json] = [{}, {"apiKey": []}, {"bearer": []}]
_IN_PATH: Mapping[str, Json] = {
    name: {"name": name, "in": "path", "required": True, "schema": schema}
    for name, schema in (
        ("fingerprint", {"type": "string", "minLength": 1, "pattern": "^[^/]+$"}),
        ("id", {"type": "integer", "minimum": 1, "maximum": LARGEST_ID}),
    )
}
_OPERATIONS: Mapping[str, Mapping[str, _Operation]] = {
    "/api/v1/alerts": {
        "get": _Operation(
            "listAlerts",
            "What Alertmanager told, newest first",
            "AlertPage",
            query=(*ALERT_FILTERS, "current", *PAGING),
        ),
        "post": _Operation(
            "receive",
            "Alertmanager's webhook (version 4): answered once it is on disk",
            "Accepted",
            refusals=(400, 415),
            body="AlertGroup",
            basic_auth=True,
        ),
    },
    "/api/v1/alerts/{fingerprint}": {
        "get": _Operation("showAlert", "One alert's story", "AlertStory", refusals=(400, 404)),
    },
    "/api/v1/alerts/{fingerprint}/ack": {
        "post": _Operation(
            "ack",
            "Take an alert: a short silence at Alertmanager",
            "AckAnswer",
            refusals=(400, 404, 409, 413, 415),
            body="AckRequest",
            body_required=False,
        ),
        "delete": _Operation("undoAck", "Undo it: the silence ends", "AckAnswer", refusals=(404, 413)),
    },
    "/api/v1/alerts/{fingerprint}/verdict": {
        "post": _Operation(
            "judge",
            "Say what an alert was worth",
            "Recorded",
            refusals=(400, 404, 413, 415),
            body="VerdictRequest",
            code=201,
        ),
    },
    "/api/v1/notifications": {
        "get": _Operation(
            "listNotifications",
            "What went to receivers, newest first",
            "NotificationPage",
            query=(*NOTIFICATION_FILTERS, *PAGING),
        ),
    },
    "/api/v1/notifications/{id}": {
        "get": _Operation("showNotification", "One of them", "NotificationDetail", refusals=(400, 404)),
    },
    "/api/v1/notifications/{id}/retry": {
        "post": _Operation("retry", "Send it again now, a dead letter, too", "Retried", refusals=(404, 409, 413)),
    },
    "/api/v1/dismissals": {
        "get": _Operation(
            "listDismissals",
            "What people said of alerts, newest first",
            "DismissalPage",
            query=(*DISMISSAL_FILTERS, *PAGING),
        ),
    },
}


def _json(name: str) -> Json:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _query_parameter(name: str) -> Json:
    told = dict(_PARAMETERS.get(name, {"type": "string"}))
    made: Json = {"name": name, "in": "query"}
    if description := told.pop("description", ""):
        made["description"] = description
    if name in ("since", "until"):
        told = _MOMENT
    elif name in CHOICES:
        told = {"type": "string", "enum": list(CHOICES[name])}
    return made | {"schema": told}


def _schemas() -> Json:
    named = [found for name, found in vars(shapes).items() if not name.startswith("_")]
    public = [found for found in named if isinstance(found, type) and issubclass(found, msgspec.Struct)]
    _, components = msgspec.json.schema_components([AlertGroup, *public], ref_template="#/components/schemas/{name}")
    components["AlertGroup"]["properties"]["alerts"]["minItems"] = 1  # checked by webhook.parse
    return components
