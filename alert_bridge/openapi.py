"""The API as an OpenAPI 3.1 document, its schemas made of the types in shapes.py and webhook.py."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from alert_bridge import shapes
from alert_bridge.history import ALERT_FILTERS, DISMISSAL_FILTERS, NOTIFICATION_FILTERS
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
    413: "The body, or the number of alerts in it, is larger than the config allows.",
    415: "The body is of another type than JSON.",
    503: "Not now: the database can't be read or written, or Alertmanager didn't answer. Nothing was changed.",
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
        "paths": _paths(),
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic", "description": "The webhook only."},
            },
        },
        "security": [{}, {"apiKey": []}, {"bearer": []}],
    }


def _paths() -> Json:
    fingerprint = _in_path("fingerprint", {"type": "string", "minLength": 1, "pattern": "^[^/]+$"})
    notification = _in_path("id", {"type": "integer", "minimum": 1, "maximum": LARGEST_ID})
    alerts = _operation(
        "listAlerts",
        "What Alertmanager told, newest first",
        "AlertPage",
        refusals=(400,),
        parameters=_in_query((*ALERT_FILTERS, "current", *PAGING)),
    )
    webhook = _operation(
        "receive",
        "Alertmanager's webhook (version 4): 200 once it is on disk",
        "Accepted",
        refusals=(400, 413, 415),
        body="AlertGroup",
    )
    webhook["security"] = [{}, {"apiKey": []}, {"bearer": []}, {"basic": []}]
    ack = {
        "body": "AckRequest",
        "optional": True,
        "parameters": [fingerprint],
        "refusals": (400, 404, 409, 413, 415),
    }
    verdict = {"body": "VerdictRequest", "parameters": [fingerprint], "refusals": (400, 404, 413, 415), "code": 201}
    retry = {"parameters": [notification], "refusals": (400, 404, 409, 413)}
    return {
        "/api/v1/alerts": {"get": alerts, "post": webhook},
        "/api/v1/alerts/{fingerprint}": {
            "get": _operation(
                "showAlert", "One alert's story", "AlertStory", refusals=(400, 404), parameters=[fingerprint]
            )
        },
        "/api/v1/alerts/{fingerprint}/ack": {
            "post": _operation("ack", "Take an alert: a short silence at Alertmanager", "AckAnswer", **ack),
            "delete": _operation(
                "undoAck",
                "Undo it: the silence ends",
                "AckAnswer",
                refusals=(400, 404, 409, 413),
                parameters=[fingerprint],
            ),
        },
        "/api/v1/alerts/{fingerprint}/verdict": {
            "post": _operation("judge", "Say what an alert was worth", "Recorded", **verdict)
        },
        "/api/v1/notifications": {
            "get": _operation(
                "listNotifications",
                "What went to receivers, newest first",
                "NotificationPage",
                refusals=(400,),
                parameters=_in_query((*NOTIFICATION_FILTERS, *PAGING)),
            )
        },
        "/api/v1/notifications/{id}": {
            "get": _operation(
                "showNotification", "One of them", "NotificationDetail", refusals=(400, 404), parameters=[notification]
            )
        },
        "/api/v1/notifications/{id}/retry": {
            "post": _operation("retry", "Send it again now, a dead letter too", "Retried", **retry)
        },
        "/api/v1/dismissals": {
            "get": _operation(
                "listDismissals",
                "What people said of alerts, newest first",
                "DismissalPage",
                refusals=(400,),
                parameters=_in_query((*DISMISSAL_FILTERS, *PAGING)),
            )
        },
    }


def _operation(
    name: str,
    summary: str,
    answer: str,
    *,
    refusals: Iterable[int],
    parameters: list[Json] | None = None,
    body: str | None = None,
    optional: bool = False,
    code: int = 200,
) -> Json:
    made: Json = {
        "operationId": name,
        "summary": summary,
        "parameters": parameters or [],
        "responses": {
            str(code): {"description": "Done.", "content": _json(answer)},
            **{
                str(status): {"description": REFUSALS[status], "content": _json("Error")}
                for status in sorted({*refusals, *ALWAYS})
            },
        },
    }
    if body is not None:
        made["requestBody"] = {"required": not optional, "content": _json(body)}
    return made


def _json(name: str) -> Json:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _in_path(name: str, schema: Json) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _in_query(names: Iterable[str]) -> list[Json]:
    return [_query_parameter(name) for name in names]


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
    types = [
        AlertGroup,
        *(
            found
            for found in vars(shapes).values()
            if isinstance(found, type) and issubclass(found, msgspec.Struct) and found.__module__ == shapes.__name__
        ),
    ]
    public = [found for found in types if not found.__name__.startswith("_")]
    _, components = msgspec.json.schema_components(public, ref_template="#/components/schemas/{name}")
    components["AlertGroup"]["properties"]["alerts"]["minItems"] = 1  # checked by webhook.parse
    return components
