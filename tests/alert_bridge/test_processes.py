"""Real processes: a bridge whose disk is full, one that is told to end, and a real Alertmanager in front of one."""

import resource
import signal
import socket
import time
from datetime import UTC, datetime, timedelta

import pytest
import requests

from alert_bridge.testing import eventually, webhook_body
from alert_bridge.testing_alertmanager import PROGRAM, Alertmanager


def webhook_to(url, **more):
    lines = "".join(f", {key}: {value}" for key, value in more.items())
    return f"""
  receivers: [{{name: one, type: webhook, url: '{url}/hook'{lines}}}]
  retry_first: 20ms
  retry_max: 100ms
"""


def test_a_full_disk_is_503_until_there_is_room_again(start_bridge, receiver):
    """A file size limit, set from outside, fails the real write as a full disk does."""
    app, to = receiver
    bridge = start_bridge(webhook_to(to))
    post = lambda name: requests.post(f"{bridge.url}/api/v1/alerts", data=webhook_body((name, "firing")), timeout=15)  # noqa: E731
    assert post("before").status_code == 200
    eventually(lambda: len(app.taken) == 1)
    used = (bridge.data_dir / "outbox.db-wal").stat().st_size
    _, hard = resource.prlimit(bridge.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(bridge.process.pid, resource.RLIMIT_FSIZE, (used, hard))
    assert post("while").status_code == 503
    assert requests.get(f"{bridge.url}/-/ready", timeout=10).status_code == 503
    resource.prlimit(bridge.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
    assert post("while").status_code == 200
    assert requests.get(f"{bridge.url}/-/ready", timeout=10).status_code == 200
    eventually(lambda: len(app.taken) == 2)
    listed = requests.get(f"{bridge.url}/api/v1/alerts", timeout=10).json()["alerts"]
    assert [alert["fingerprint"] for alert in listed] == ["while", "before"]


def test_sigterm_ends_it_within_ten_seconds_whatever_a_receiver_does(start_bridge):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        bridge = start_bridge(webhook_to(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout="1m"))
        requests.post(f"{bridge.url}/api/v1/alerts", data=webhook_body(), timeout=10)
        silent.settimeout(10)
        connection, _ = silent.accept()
        with connection:
            began = time.monotonic()
            bridge.process.send_signal(signal.SIGTERM)
            assert bridge.process.wait(15) == 0
    assert time.monotonic() - began < 10
    assert "Traceback" not in bridge.log


@pytest.mark.skipif(PROGRAM is None, reason="needs Alertmanager: sh .ci/programs")
def test_a_real_alertmanager_reaches_the_receiver_through_the_bridge(start_bridge, receiver, tmp_path):
    app, to = receiver
    bridge = start_bridge(webhook_to(to))
    with Alertmanager(tmp_path, bridge.url) as running:

        def tell(**times):
            alert = {"labels": {"alertname": "Disk", "severity": "page"}, "annotations": {"summary": "full"}, **times}
            running.tell(alert)

        began = datetime.now(UTC) - timedelta(minutes=1)
        tell(startsAt=began.isoformat())
        eventually(lambda: len(app.taken) == 1, 15)
        tell(startsAt=began.isoformat(), endsAt=datetime.now(UTC).isoformat())
        eventually(lambda: len(app.taken) == 2, 15)
    firing, resolved = (post["body"] for post in app.taken)
    assert (firing["status"], resolved["status"]) == ("firing", "resolved")
    assert firing["alerts"][0]["labels"] == {"alertname": "Disk", "severity": "page"}
    assert firing["alerts"][0]["fingerprint"] == resolved["alerts"][0]["fingerprint"]
    assert firing["receiver"] == "cloud.pulse"
    assert firing["notification"]["incident"] == resolved["notification"]["incident"]
