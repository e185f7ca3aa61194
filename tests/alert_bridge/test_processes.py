"""Real processes: a bridge that is killed, one whose disk is full, and a real Alertmanager in front of one."""

import itertools
import json
import random
import resource
import shutil
import signal
import socket
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from alert_bridge.testing import eventually, webhook_body

INCIDENTS = 6


def webhook_to(url, **more):
    lines = "".join(f", {key}: {value}" for key, value in more.items())
    return f"""
  receivers: [{{name: one, type: webhook, url: '{url}/hook'{lines}}}]
  retry_first: 20ms
  retry_max: 100ms
"""


def test_killed_under_load_it_loses_nothing(start_bridge, receiver):
    """SIGKILL at random moments, against a receiver that fails at random, with a client that posts as Alertmanager."""
    app, to = receiver
    dice = random.Random(7)

    def answer(post):
        time.sleep(dice.uniform(0, 0.01))
        return dice.choice([(200, {}), (200, {}), (200, {}), (500, {}), (429, {"Retry-After": "0"}), (404, {})])

    app.answer = answer
    bridge = start_bridge(webhook_to(to))
    accepted, stop = {incident: [] for incident in range(INCIDENTS)}, threading.Event()

    def post(incident):
        for number in itertools.count():
            body = webhook_body((f"{number}", "firing"), key=str(incident))
            while not stop.is_set():
                try:
                    if requests.post(f"{bridge.url}/api/v1/alerts", data=body, timeout=5).status_code == 200:
                        accepted[incident].append(number)
                        break
                except requests.RequestException:
                    time.sleep(0.02)
            if stop.is_set():
                return
            time.sleep(0.01)

    threads = [threading.Thread(target=post, args=(incident,)) for incident in range(INCIDENTS)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        time.sleep(dice.uniform(0.3, 0.8))
        bridge.kill()
        bridge.start()
    time.sleep(0.3)
    stop.set()
    for thread in threads:
        thread.join(10)
    app.answer = lambda post: (200, {})

    def pending():
        return requests.get(f"{bridge.url}/health", timeout=10).json()["pending"]

    eventually(lambda: pending() == 0, 30)
    assert sum(map(len, accepted.values())) > 50
    keys = {}
    for incident, numbers in accepted.items():
        taken = [post for post in app.taken if post["body"]["groupKey"] == str(incident)]
        told = [int(post["body"]["alerts"][0]["fingerprint"]) for post in taken]
        assert set(numbers) <= set(told), "lost"
        assert told == sorted(told), "overtaken"
        for post_, number in zip(taken, told, strict=True):
            keys.setdefault((incident, number), set()).add(post_["headers"]["IDEMPOTENCY-KEY"])
    assert all(len(found) == 1 for found in keys.values()), "a duplicate with another key"
    assert len(set.union(*keys.values())) == len(keys)
    # A crash doubles at most what was under way: one per thread of the receiver (4) and kill (3).
    assert len(app.taken) - len(keys) <= 3 * 4


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


@pytest.mark.skipif(shutil.which("prometheus-alertmanager") is None, reason="needs prometheus-alertmanager on PATH")
def test_a_real_alertmanager_reaches_the_receiver_through_the_bridge(start_bridge, receiver, tmp_path):
    app, to = receiver
    bridge = start_bridge(webhook_to(to))
    with alertmanager(tmp_path, bridge.url) as url:

        def tell(**times):
            alert = {"labels": {"alertname": "Disk", "severity": "page"}, "annotations": {"summary": "full"}, **times}
            requests.post(f"{url}/api/v2/alerts", json=[alert], timeout=10).raise_for_status()

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


class alertmanager:  # noqa: N801  a context manager
    """A real Alertmanager with its data in `place` that posts to the bridge at `bridge_url`."""

    def __init__(self, place: Path, bridge_url: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        config = {
            "route": {
                "receiver": "cloud.pulse",
                "group_by": ["alertname"],
                "group_wait": "0s",
                "group_interval": "1s",
                "repeat_interval": "1h",
            },
            "receivers": [
                {
                    "name": "cloud.pulse",
                    "webhook_configs": [{"url": f"{bridge_url}/api/v1/alerts", "send_resolved": True}],
                }
            ],
        }
        (place / "alertmanager.yml").write_text(json.dumps(config))
        self._url = f"http://127.0.0.1:{port}"
        self._log = (place / "alertmanager.log").open("w")
        self._process = subprocess.Popen(
            [
                "prometheus-alertmanager",
                f"--config.file={place}/alertmanager.yml",
                f"--storage.path={place}/alertmanager",
                f"--web.listen-address=127.0.0.1:{port}",
                "--cluster.listen-address=",
            ],
            stderr=self._log,
        )

    def __enter__(self) -> str:
        eventually(self._ready, 20)
        return self._url

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._log.close()

    def _ready(self) -> bool:
        try:
            return requests.get(f"{self._url}/-/ready", timeout=2).ok
        except requests.ConnectionError:
            return False
