"""One id from Alertmanager's webhook to the delivery: in logs, headers, history and a collector, over a kill -9."""

import json
import os

import requests

from alert_bridge.testing import BridgeProcess, Receiver, eventually, webhook_body
from cloudpulse.testing import serving
from tests.otlp import collecting

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def _config(url, collector):
    return (
        f"  receivers: [{{name: oncall, type: webhook, url: '{url}/hook', insight: false}}]\n"
        "  routes: [{receivers: [oncall]}]\n  retry_max: 1s\n"
        f"tracing: {{endpoint: '{collector.url}'}}\n"
    )


def test_a_delivery_belongs_to_the_trace_of_its_webhook_also_after_a_kill(tmp_path):
    receiver = Receiver()
    receiver.answer = lambda _: (503, {})
    with collecting() as collector, serving(receiver) as url:
        bridge = BridgeProcess(tmp_path, _config(url, collector), "--audit-log", str(tmp_path / "audit.jsonl"))
        try:
            answer = requests.post(
                f"{bridge.url}/api/v1/alerts",
                data=webhook_body(("a", "firing")),
                headers={"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "vendor=1"},
                timeout=10,
            )
            assert (answer.status_code, answer.headers["X-Request-Id"]) == (200, TRACE)
            eventually(lambda: collector.named("POST /api/v1/alerts") and collector.named("deliver"), 20)
            before = bridge.log
            bridge.kill()
            receiver.answer = lambda _: (200, {})
            bridge.start()
            eventually(lambda: receiver.taken, 20)
            eventually(lambda: '"delivered"' in bridge.log)
            (told,) = requests.get(f"{bridge.url}/api/v1/notifications", timeout=10).json()["notifications"]
            verdict = requests.post(f"{bridge.url}/api/v1/alerts/a/verdict", json={"verdict": "noise"}, timeout=10)
            bridge.process.terminate()
            assert bridge.process.wait(20) == 0
        finally:
            bridge.kill()
    lines = [json.loads(line) for line in (before + bridge.log).splitlines()]
    events = {line["event"] for line in lines if line.get("trace_id") == TRACE}
    assert {"webhook stored", "delivery failed, will try again", "delivered"} <= events
    assert told["traceId"] == TRACE

    (request,) = collector.named("POST /api/v1/alerts")
    assert (request.trace_id, request.parent, request.service) == (TRACE, SPAN, "cloudpulse-alert-bridge")
    assert request.attributes["http.response.status_code"] == 200
    tries = [span for span in collector.named("deliver") if span.trace_id == TRACE]
    assert {span.parent for span in tries} == {request.span_id}
    assert {span.attributes["cloudpulse.receiver"] for span in tries} == {"oncall"}
    assert tries[0].failed
    assert tries[-1].failed is None
    sent = receiver.taken[0]["headers"]
    assert (sent["TRACEPARENT"], sent["TRACESTATE"]) == (f"00-{TRACE}-{tries[-1].span_id}-01", "vendor=1")

    assert verdict.ok
    (line,) = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert (line["action"], line["result"], line["from"]) == ("verdict", "noise", "127.0.0.1")
    assert line["trace_id"] == verdict.headers["X-Request-Id"]
    assert os.stat(tmp_path / "audit.jsonl").st_mode & 0o777 == 0o600  # noqa: PTH116
