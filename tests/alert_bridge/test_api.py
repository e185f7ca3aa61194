"""What the API answers to people and programs: filters, pages, stories, verdicts, limits."""

import json

import pytest
import requests

from alert_bridge.history import History, Period
from alert_bridge.testing import eventually, webhook_body
from alert_bridge.webhook import parse
from cloudpulse.testing import captured_logs


def post(url, *alerts, **changes):
    return requests.post(f"{url}/api/v1/alerts", data=webhook_body(*alerts, **changes), timeout=10)


def get(url, path):
    return requests.get(f"{url}/api/v1/{path}", timeout=10)


def fingerprints(url, query):
    return [alert["fingerprint"] for alert in get(url, f"alerts?{query}").json()["alerts"]]


def test_what_fires_now_is_what_was_last_told_as_firing(bridge):
    url = bridge()
    post(url, ("a", "firing"), ("b", "firing"))
    post(url, ("c", "firing"), key="other")
    post(url, ("a", "resolved"), ("b", "firing"))
    assert fingerprints(url, "current=true") == ["b", "c"]
    assert fingerprints(url, "current=true&fingerprint=a") == []
    assert fingerprints(url, "current=true&limit=1") == ["b"]
    assert len(fingerprints(url, "current=false")) == 5


def test_a_period_holds_what_was_stored_in_it(database, outbox, clock):
    history = History(database)
    for n in range(20):
        outbox.store(parse(webhook_body((f"f{n}", "firing"), key=str(n))), {"one": [0]})
        clock.advance(10)

    def found(period, **more):
        page = history.alerts({}, more.get("before"), more.get("limit", 100), period)
        return [entry["fingerprint"] for entry in page.entries]

    began = clock() - 200
    assert found(Period(began + 50, began + 80)) == ["f7", "f6", "f5"]
    assert found(Period(since=began + 185)) == ["f19"]
    assert found(Period(until=began + 1)) == ["f0"]
    assert found(Period(began + 50, began + 50)) == []
    assert found(Period(since=began + 1000)) == []
    assert found(Period(until=began)) == []
    assert len(found(Period(began, began + 1000))) == 20
    sent = history.notifications({}, None, 100, Period(began + 50, began + 80)).entries
    assert [entry["id"] for entry in sent] == [8, 7, 6]


def test_a_period_of_an_empty_history_is_empty(database):
    assert History(database).alerts({}, None, 10, Period(1, 2)).entries == []


def test_times_are_taken_as_prometheus_takes_them(bridge):
    url = bridge()
    post(url, ("a", "firing"))
    for since in ("2020-01-02T03:04:05Z", "2020-01-02T03:04:05+02:00", "1577934245", "1577934245.5"):
        assert fingerprints(url, f"since={since}") == ["a"], since
        assert fingerprints(url, f"until={since}") == [], since
    for wrong in ("x", "", "nan", "inf", "1e300", "2020-01-02", "2020-01-02T03:04:05", "9999-99-99T00:00:00Z"):
        assert get(url, f"alerts?since={wrong}").status_code == 400, wrong


@pytest.mark.parametrize(
    "path",
    [
        "alerts?status=fired",
        "alerts?current=yes",
        "notifications?state=done",
        "notifications?status=firing",
        "dismissals?verdict=meh",
        "alerts?status=firing&status=firing",
        "alerts/a?limit=1",
        "notifications/1?x=1",
    ],
)
def test_a_question_that_is_not_understood_is_refused(bridge, path):
    url = bridge()
    post(url, ("a", "firing"))
    answer = get(url, path)
    assert answer.status_code == 400
    assert "expected" in answer.json()["error"]


def test_one_notification_is_shown_with_what_it_tells_of(bridge):
    url = bridge()
    post(url, ("a", "firing"), ("b", "resolved"))
    eventually(lambda: get(url, "notifications/1").json()["state"] == "delivered")
    shown = get(url, "notifications/1").json()
    assert [alert["fingerprint"] for alert in shown["alerts"]] == ["a", "b"]
    assert get(url, "notifications/2").status_code == 404


def test_an_alerts_story_tells_what_was_told_and_to_whom(bridge):
    url = bridge()
    post(url, ("a", "firing"), ("b", "firing"))
    post(url, ("c", "firing"), key="other")
    post(url, ("a", "resolved"), ("b", "firing"))
    story = get(url, "alerts/a").json()
    assert (story["firing"], story["taken"]) == (False, None)
    assert [told["status"] for told in story["told"]] == ["resolved", "firing"]
    assert [sent["id"] for sent in story["notifications"]] == [3, 1]
    assert get(url, "alerts/unknown").status_code == 404


def test_a_verdict_is_kept_with_the_alert_that_it_is_about(bridge):
    url = bridge()
    post(url, ("a", "firing"))
    told = {"verdict": "noise", "comment": "deploys\x1b[2J\ndo this", "by": "Anna"}
    with captured_logs() as lines:
        answer = requests.post(f"{url}/api/v1/alerts/a/verdict", json=told, timeout=10)
    assert (answer.status_code, answer.json()) == (201, {"id": 1})
    (line,) = [line for line in lines if line["event"] == "audit"]
    assert (line["action"], line["result"], line["said"]["by"]) == ("verdict", "noise", "Anna")
    requests.post(f"{url}/api/v1/alerts/a/verdict", json={"verdict": "useful"}, timeout=10)
    both = get(url, "dismissals").json()["dismissals"]
    assert [(one["verdict"], one["by"], one["labels"]["pod"]) for one in both] == [
        ("useful", "someone", "a"),
        ("noise", "Anna", "a"),
    ]
    assert get(url, "dismissals?verdict=noise&limit=1").json()["dismissals"] == both[1:]
    assert get(url, "alerts/a").json()["verdicts"] == both
    for wrong in ({}, {"verdict": "meh"}, {"verdict": "noise", "comment": "x" * 1001}, [], None):
        assert requests.post(f"{url}/api/v1/alerts/a/verdict", json=wrong, timeout=10).status_code == 400, wrong
    unknown = requests.post(f"{url}/api/v1/alerts/x/verdict", json={"verdict": "noise"}, timeout=10)
    assert unknown.status_code == 404


def test_what_is_refused_for_its_size_is_loud(bridge):
    url = bridge(max_alerts=3)
    assert post(url, *[(str(n), "firing") for n in range(3)]).status_code == 200
    with captured_logs() as lines:
        assert post(url, *[(str(n), "firing") for n in range(4)]).status_code == 503
    (line,) = [line for line in lines if line["level"] == "error"]
    assert "max_alerts" in line["hint"]
    metrics = requests.get(f"{url}/metrics", timeout=10).text
    assert 'cloudpulse_alert_bridge_groups_rejected_total{reason="too_many_alerts"} 1' in metrics


def test_bombs_are_refused_and_not_tried_again(bridge):
    url = bridge()
    good = json.loads(webhook_body(("a", "firing")))
    deep = json.dumps(good)[:-1] + ',"x":' + "[" * 200_000 + "]" * 200_000 + "}"
    for body in (deep, "[" * 1_000_000, '{"a":' * 200_000):
        assert requests.post(f"{url}/api/v1/alerts", data=body, timeout=20).status_code == 400
    answer = requests.post(
        f"{url}/api/v1/alerts/a/verdict", data="[" * 100_000, headers={"Content-Type": "application/json"}, timeout=20
    )
    assert answer.status_code == 400
    zipped = requests.post(f"{url}/api/v1/alerts", data=b"x", headers={"Content-Encoding": "gzip"}, timeout=10)
    assert zipped.status_code == 415
    assert post(url, ("a", "firing")).status_code == 200


@pytest.mark.parametrize(
    "there",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},  # over plain HTTP a browser sends no Sec-Fetch-Site
        {"Origin": "null"},
    ],
)
def test_changes_are_not_taken_from_other_sites_pages(bridge, there):
    url = bridge()
    post(url, ("a", "firing"))
    for path in ("alerts", "alerts/a/ack", "alerts/a/verdict", "notifications/1/retry"):
        answer = requests.post(f"{url}/api/v1/{path}", data=webhook_body(), headers=there, timeout=10)
        assert answer.status_code == 403, path
    assert requests.get(f"{url}/api/v1/alerts", headers=there, timeout=10).status_code == 200


@pytest.mark.parametrize("origin", ["here", "https://Alerts.example"])
def test_changes_are_taken_from_pages_of_the_bridge_itself(bridge, origin):
    url = bridge(external_url="https://alerts.example/bridge")
    post(url, ("a", "firing"))
    here = {"Origin": url if origin == "here" else origin, "Sec-Fetch-Site": "same-origin"}
    answer = requests.post(f"{url}/api/v1/alerts/a/verdict", json={"verdict": "noise"}, headers=here, timeout=10)
    assert answer.status_code == 201


@pytest.mark.parametrize(
    "path", ["/", "/metrics", "/health", "/api/v1/alerts", "/api/v1/x", "/ack/1/1/x", "/stream", "/nothing"]
)
def test_every_page_is_guarded(bridge, path):
    headers = requests.get(bridge() + path, timeout=10).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
