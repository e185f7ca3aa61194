"""The document against the running bridge: schemathesis asks everything that it allows, and much that it forbids.

The suite tries a few cases of each operation, CLOUDPULSE_FUZZ_CASES as many as it says.
"""

import json
import os
import re
import uuid

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from alert_bridge import live
from alert_bridge.alertmanager import AlertmanagerSettings
from alert_bridge.bridge import Bridge
from alert_bridge.config import AlertBridgeSettings
from alert_bridge.insight import NoInsights
from alert_bridge.openapi import document
from alert_bridge.testing import webhook_body
from cloudpulse import serving as serving_paths
from cloudpulse.testing import serving

CASES = int(os.environ.get("CLOUDPULSE_FUZZ_CASES", "10"))

# How long an ack may hold is for the config to say; that 1.0 is an integer, as JSON Schema has it, is news to Go; and
# a client that isn't a WebSocket is told so first.
JUDGED_ELSEWHERE = {
    "POST /api/v1/alerts/{fingerprint}/ack": [positive_data_acceptance],
    "POST /api/v1/alerts": [positive_data_acceptance],
    "GET /api/v1/stream": [positive_data_acceptance, negative_data_rejection],
}


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
        one = Bridge(made, NoInsights(), lifecycle=True)
        with serving(one.face) as place:
            told = webhook_body(("a", "firing"), ("0", "resolved"))
            requests.post(f"{place}/api/v1/alerts", data=told, timeout=10)
            yield place
        one.close()


schema = schemathesis.openapi.from_dict(document())


@pytest.mark.timeout(120 + 2 * CASES)
@schema.parametrize()
@settings(max_examples=CASES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
def test_answers_are_as_the_document_says(case, url):
    case.call_and_validate(base_url=url, excluded_checks=JUDGED_ELSEWHERE.get(case.operation.label, []))


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


def test_every_path_that_is_served_is_in_the_document(tmp_path):
    one = Bridge(AlertBridgeSettings(data_dir=tmp_path), NoInsights(), lifecycle=True)
    one.close()
    served = {
        (re.sub(r"<(?:[^<>]*:)?(\w+)>", r"{\1}", rule.rule).replace("{notification_id}", "{id}"), method.lower())
        for rule in one._parts.app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    served |= {(path, "get") for path in (*serving_paths.SHARED, *live.PAGES, live.PATH)} | {("/-/reload", "post")}
    told = {(path, method) for path, methods in document()["paths"].items() for method in methods}
    assert served == told


def test_every_link_of_the_landing_page_is_in_the_document(url):
    landing = requests.get(url, timeout=10).text
    linked = {path.partition("?")[0] for path in re.findall(r'href="([^"]+)"', landing)}
    assert linked
    assert linked <= document()["paths"].keys()
