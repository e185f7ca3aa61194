"""The document against the running bridge: schemathesis asks everything that it allows, and much that it forbids.

The suite tries a few cases of each operation, CLOUDPULSE_FUZZ_CASES as many as it says.
"""

import json
import os
import uuid

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from alert_bridge.alertmanager import AlertmanagerSettings
from alert_bridge.bridge import Bridge
from alert_bridge.config import AlertBridgeSettings
from alert_bridge.insight import NoInsights
from alert_bridge.openapi import document
from alert_bridge.testing import webhook_body
from cloudpulse.testing import serving

CASES = int(os.environ.get("CLOUDPULSE_FUZZ_CASES", "10"))

# How long an ack may hold is for the config to say; and that 1.0 is an integer, as JSON Schema has it, is news to Go.
JUDGED_ELSEWHERE = {"POST /api/v1/alerts/{fingerprint}/ack", "POST /api/v1/alerts"}


class Silences:
    """Alertmanager's API as far as the bridge uses it: every silence is made."""

    def __call__(self, environ, start_response):
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response("200 OK", [("Content-Type", "application/json")])
        silence = {"silenceID": uuid.uuid4().hex, "id": "x", "status": {"state": "active"}, "matchers": []}
        silence |= {"startsAt": "2026-01-01T00:00:00Z", "endsAt": "2026-01-02T00:00:00Z"}
        return [json.dumps(silence).encode()]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with serving(Silences()) as alertmanager:
        made = AlertBridgeSettings(
            data_dir=tmp_path_factory.mktemp("data"), alertmanager=AlertmanagerSettings(url=alertmanager)
        )
        one = Bridge(made, NoInsights())
        with serving(one.face) as place:
            told = webhook_body(("a", "firing"), ("0", "resolved"))
            requests.post(f"{place}/api/v1/alerts", data=told, timeout=10)
            yield place
        one.close()


schema = schemathesis.openapi.from_dict(document())


@schema.parametrize()
@settings(max_examples=CASES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
def test_answers_are_as_the_document_says(case, url):
    but = [positive_data_acceptance] if case.operation.label in JUDGED_ELSEWHERE else []
    case.call_and_validate(base_url=url, excluded_checks=but)


def test_what_succeeds_is_answered_as_the_document_says(url):
    told = webhook_body(("well", "firing"))
    asked = [
        ("/api/v1/alerts", "POST", "", {"data": told}),
        ("/api/v1/alerts/{fingerprint}/ack", "POST", "well", {"json": {"duration": "1h", "comment": "c"}}),
        ("/api/v1/alerts/{fingerprint}/verdict", "POST", "well", {"json": {"verdict": "useful"}}),
        ("/api/v1/alerts/{fingerprint}", "GET", "well", {}),
        ("/api/v1/alerts/{fingerprint}/ack", "DELETE", "well", {}),
        ("/api/v1/alerts", "GET", "", {"params": {"current": "true"}}),
        ("/api/v1/notifications", "GET", "", {}),
        ("/api/v1/notifications/{id}", "GET", "1", {}),
        ("/api/v1/dismissals", "GET", "", {}),
    ]
    for path, method, value, more in asked:
        place = path.replace("{fingerprint}", value).replace("{id}", value)
        answer = requests.request(method, url + place, timeout=10, **more)
        assert answer.ok, (path, answer.text)
        schema[path][method].validate_response(answer)
    story = requests.get(f"{url}/api/v1/alerts/well", timeout=10).json()
    assert all(story[part] for part in ("told", "notifications", "acks", "verdicts")), (
        "lists that are empty fit any type"
    )


def test_every_path_of_the_app_is_in_the_document(url, tmp_path):
    one = Bridge(AlertBridgeSettings(data_dir=tmp_path), NoInsights())
    one.close()
    served = {
        (rule.rule.split("<int")[0].replace("<fingerprint>", "{fingerprint}"), method.lower())
        for rule in one._parts.app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if rule.rule.startswith("/api/") and not rule.rule.endswith("openapi.json")
    }
    told = {(path.split("{id}")[0], m) for path, methods in document()["paths"].items() for m in methods}
    assert served == told
