"""Real bridge processes whose database goes away, can't be opened, or is full of what must stay."""

import pytest
import requests

from alert_bridge.testing import eventually, webhook_body


def post(bridge, name, status="firing"):
    body = webhook_body((name, status), key=name)
    return requests.post(f"{bridge.url}/api/v1/alerts", data=body, timeout=30).status_code


def ready(bridge):
    return requests.get(f"{bridge.url}/-/ready", timeout=30).status_code


def test_without_postgresql_it_is_not_ready_and_recovers_by_itself(start_bridge, receiver, postgresql):
    app, to = receiver
    bridge = start_bridge(f"""
  receivers: [{{name: one, type: webhook, url: '{to}/hook'}}]
  database: '{postgresql.new_database()}'
""")
    assert post(bridge, "before") == 200
    eventually(lambda: len(app.taken) == 1)
    postgresql.stop()
    try:
        assert post(bridge, "while") == 503
        assert ready(bridge) == 503
        metrics = requests.get(f"{bridge.url}/metrics", timeout=30)
        assert metrics.status_code == 200
        assert "cloudpulse_alert_bridge_pending{" not in metrics.text, "absent, not 0"
    finally:
        postgresql.start()
    assert post(bridge, "while") == 200
    assert ready(bridge) == 200
    eventually(lambda: len(app.taken) == 2)
    assert "Traceback" not in bridge.log


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (("w0rd", "wr0ng"), 1, "password authentication failed for user"),
        (("bridge", "nothing"), 1, "does not exist"),
        (("%40", "@"), 2, "database: expected a URL such as postgresql://user:password@host:5432/name"),
    ],
)
def test_a_database_that_can_not_be_opened_is_one_clear_line_without_the_password(
    start_bridge, postgresql, change, code, said
):
    with pytest.raises(RuntimeError, match="the bridge did not start") as caught:
        start_bridge(f"  database: '{postgresql.new_database().replace(*change)}'\n")
    log = str(caught.value)
    assert said in log
    assert log.count("\n") <= 1
    for secret in ("p@ss", "p%40ss", "w0rd", "wr0ng"):
        assert secret not in log


def test_full_of_what_waits_or_fires_it_takes_ends_only_until_there_is_room(start_bridge, receiver):
    app, to = receiver
    app.answer = lambda _: (500, {})
    bridge = start_bridge(f"""
  receivers: [{{name: one, type: webhook, url: '{to}/hook'}}]
  retry_first: 100ms
  retry_max: 100ms
  max_stored_alerts: 2
""")
    assert [post(bridge, name) for name in "abc"] == [200] * 3
    bridge.kill()
    bridge.start()  # it counts at its start
    eventually(lambda: ready(bridge) == 503)
    assert post(bridge, "refused") == 503
    shown = requests.get(f"{bridge.url}/metrics", timeout=10).text
    assert "cloudpulse_alert_bridge_stored_alerts 3.0" in shown
    assert "cloudpulse_alert_bridge_stored_alerts_limit 2.0" in shown
    app.answer = lambda _: (200, {})
    eventually(lambda: {p["body"]["groupKey"] for p in app.taken} == {"a", "b", "c"})
    bridge.kill()
    bridge.start()
    eventually(lambda: ready(bridge) == 503)  # sent, but they fire as last told
    assert [post(bridge, name, "resolved") for name in "ab"] == [200] * 2
    ends = {("a", "resolved"), ("b", "resolved")}
    eventually(lambda: ends <= {(p["body"]["groupKey"], p["body"]["status"]) for p in app.taken})  # c may come twice
    waiting = f"{bridge.url}/api/v1/notifications?state=pending"
    eventually(lambda: requests.get(waiting, timeout=10).json()["notifications"] == [])
    bridge.kill()
    bridge.start()
    eventually(lambda: "stored_alerts 2.0" in requests.get(f"{bridge.url}/metrics", timeout=10).text)
    assert ready(bridge) == 200
    assert post(bridge, "refused") == 200
