import json
import shutil
from pathlib import Path

import requests

from alert_bridge.bridge import Bridge
from alert_bridge.config import AlertBridgeSettings
from alert_bridge.insight import NoInsights
from alert_bridge.notifiers.webhook import WebhookReceiver
from alert_bridge.router import Route
from alert_bridge.testing import eventually, webhook_body
from cloudpulse.config import Secret
from cloudpulse.durations import Duration
from cloudpulse.testing import serving

CAPTURED = sorted((Path(__file__).parent / "fixtures").glob("*.json"))
FIRING = webhook_body(("a", "firing"))


def post(url, body=FIRING, path="/api/v1/alerts", **more):
    return requests.post(url + path, data=body, timeout=10, **more)


def get(url, path):
    return requests.get(url + path, timeout=10)


def test_a_webhook_is_stored_delivered_and_listed(bridge, receiver):
    app, to = receiver
    url = bridge(receivers=(WebhookReceiver(name="one", url=Secret(f"{to}/token"), concurrency=1),))
    assert post(url).json() == {"groupId": 1, "duplicate": False}
    assert post(url).json() == {"groupId": 1, "duplicate": True}
    eventually(lambda: len(app.taken) == 1)
    (alert,) = get(url, "/api/v1/alerts").json()["alerts"]
    assert (alert["fingerprint"], alert["labels"]["alertname"]) == ("a", "Test")
    eventually(lambda: get(url, "/api/v1/notifications?state=delivered").json()["notifications"] != [])
    (sent,) = get(url, "/api/v1/notifications").json()["notifications"]
    assert sent["idempotencyKey"] == app.taken[0]["headers"]["IDEMPOTENCY-KEY"]
    assert (sent["state"], sent["attempts"], sent["receiver"]) == ("delivered", 1, "one")
    metrics = get(url, "/metrics").text
    assert 'cloudpulse_alert_bridge_alerts_received_total{status="firing"} 1' in metrics
    assert "cloudpulse_alert_bridge_duplicates_total 1" in metrics
    assert 'cloudpulse_alert_bridge_pending{receiver="one"} 0' in metrics
    assert "cloudpulse_build_info" in metrics
    pages = metrics + get(url, "/").text + get(url, "/health").text
    assert "/token" not in pages
    assert get(url, "/-/ready").status_code == 200


def test_everything_captured_from_alertmanager_is_stored(bridge):
    url = bridge()
    bodies = [json.loads(path.read_text(encoding="utf-8"))["body"] for path in CAPTURED]
    assert len(bodies) == 9
    for body in bodies:
        answer = post(url, json.dumps(body).encode())
        assert (answer.status_code, answer.json()["duplicate"]) == (200, False)
    sent = [alert["fingerprint"] for body in bodies for alert in body["alerts"]]
    stored = get(url, "/api/v1/alerts").json()["alerts"]
    assert [alert["fingerprint"] for alert in stored] == sent[::-1]


def test_what_can_never_be_valid_is_400_and_too_much_503(bridge):
    """What is too much today may be taken after a reload, and Alertmanager sends nothing again after a 4xx."""
    url = bridge(max_body_bytes=2000)
    assert post(url, b"{}").status_code == 400
    assert post(url, b"").status_code == 400
    assert post(url, webhook_body(version="5")).status_code == 400
    assert post(url, b" " * 3000).status_code == 503
    assert post(url, iter([b" " * 1500, b" " * 1500])).status_code == 503
    assert post(url, iter([FIRING])).status_code == 200, "without Content-Length"
    large = requests.post(f"{url}/api/v1/alerts/a/verdict", data=b" " * 3000, timeout=10)
    assert large.status_code == 413, "nobody sends that again by itself"
    metrics = get(url, "/metrics").text
    assert 'cloudpulse_alert_bridge_groups_rejected_total{reason="invalid"} 3' in metrics
    assert 'cloudpulse_alert_bridge_groups_rejected_total{reason="too_large"} 2' in metrics
    assert len(get(url, "/api/v1/alerts").json()["alerts"]) == 1


def test_what_can_not_be_stored_is_503_and_the_bridge_not_ready(bridge, tmp_path):
    url = bridge()
    shutil.rmtree(tmp_path / "data")
    answer = post(url)
    assert answer.status_code == 503
    assert "removed or replaced" in answer.json()["error"]
    assert get(url, "/-/ready").status_code == 503
    assert "removed or replaced" in get(url, "/health").json()["outbox"]
    assert get(url, "/-/healthy").status_code == 200
    assert 'cloudpulse_alert_bridge_groups_rejected_total{reason="storage"} 1' in get(url, "/metrics").text


def test_a_token_is_asked_of_every_post(bridge, tmp_path):
    (tmp_path / "token").write_text("s3cret-ü\n", encoding="utf-8")
    url = bridge(bearer_token_file=tmp_path / "token")
    for header in (None, "Bearer wrong", "Basic czNjcmV0", "Bearer", "Bearer s3cret-"):
        answer = post(url, headers={"Authorization": header} if header else {})
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert "s3cret" not in answer.text
    assert post(url, b"", "/api/v1/notifications/1/retry").status_code == 401
    assert post(url, headers={"Authorization": "Bearer s3cret-ü".encode()}).status_code == 200
    assert len(get(url, "/api/v1/alerts").json()["alerts"]) == 1


def test_a_dead_letter_is_sent_again_by_hand(bridge, receiver):
    app, to = receiver
    app.answer = lambda post: (400, {})
    url = bridge(receivers=(WebhookReceiver(name="one", url=Secret(to)),))
    post(url)
    eventually(lambda: get(url, "/api/v1/notifications?state=dead").json()["notifications"] != [])
    (dead,) = get(url, "/api/v1/notifications").json()["notifications"]
    assert dead["lastError"] == f"{to} answered 400"
    assert 'cloudpulse_alert_bridge_dead_letters{receiver="one"} 1' in get(url, "/metrics").text
    app.answer = lambda post: (200, {})
    assert post(url, b"", "/api/v1/notifications/1/retry").json() == {"id": 1, "before": "dead"}
    eventually(lambda: len(app.taken) == 1)
    assert app.taken[0]["headers"]["IDEMPOTENCY-KEY"] == dead["idempotencyKey"]
    eventually(lambda: post(url, b"", "/api/v1/notifications/1/retry").status_code == 409)
    assert post(url, b"", "/api/v1/notifications/2/retry").status_code == 404
    assert post(url, b"", f"/api/v1/notifications/{2**63}/retry").status_code == 404


def test_an_alert_goes_where_its_route_says(bridge, receiver):
    app, to = receiver
    both = tuple(WebhookReceiver(name=name, url=Secret(f"{to}/{name}")) for name in ("oncall", "chat"))
    url = bridge(receivers=both, routes=(Route(match={"pod": "a"}, receivers=("oncall",)),), fallback=("chat",))
    post(url, webhook_body(("a", "resolved"), ("b", "firing"), ("c", "firing")))
    eventually(lambda: len(app.taken) == 2)
    told = {p["path"]: [alert["fingerprint"] for alert in p["body"]["alerts"]] for p in app.taken}
    assert told == {"/oncall": ["a"], "/chat": ["b", "c"]}
    assert {p["path"]: p["body"]["status"] for p in app.taken} == {"/oncall": "resolved", "/chat": "firing"}


def test_a_question_that_is_not_understood_is_400_not_everything(bridge):
    url = bridge()
    queries = ["limit=0", "limit=1001", "limit=x", "limit=٣", "before=-1", f"before={10**30}", "before=", "x=y"]
    answers = {query: get(url, f"/api/v1/alerts?{query}").status_code for query in [*queries, "state=dead"]}
    assert set(answers.values()) == {400}, answers


def test_pages_lead_from_one_to_the_next(bridge):
    url = bridge()
    for n in range(5):
        post(url, webhook_body((f"f{n}", "firing"), key=str(n)))
    seen, before = [], ""
    while True:
        page = get(url, f"/api/v1/alerts?limit=2{before}").json()
        seen += [alert["fingerprint"] for alert in page["alerts"]]
        if page["before"] is None:
            break
        before = f"&before={page['before']}"
    assert seen == ["f4", "f3", "f2", "f1", "f0"]


def test_a_receiver_that_left_the_config_leaves_its_notifications_to_the_fallback(tmp_path, receiver):
    app, to = receiver
    gone = WebhookReceiver(name="gone", url=Secret("http://127.0.0.1:1"), concurrency=1)
    first = Bridge(AlertBridgeSettings(data_dir=tmp_path, receivers=(gone,), retry_first=Duration(0.01)), NoInsights())
    first.start()
    with serving(first.face) as url:
        post(url)
        eventually(lambda: get(url, "/api/v1/notifications").json()["notifications"][0]["attempts"] > 0)
    first.close()
    new = WebhookReceiver(name="new", url=Secret(to))
    second = Bridge(AlertBridgeSettings(data_dir=tmp_path, receivers=(new,)), NoInsights())
    second.start()
    eventually(lambda: len(app.taken) == 1)
    second.close()


def test_what_is_not_there_says_where_to_look(bridge):
    url = bridge()
    assert "/api/v1/openapi.json" in get(url, "/api/v1/nothing").json()["error"]
    answer = requests.put(f"{url}/api/v1/notifications", timeout=10)
    assert "doesn't take PUT" in answer.json()["error"]
    assert answer.headers["Allow"] in answer.json()["error"]
