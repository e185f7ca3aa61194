"""The bridge under `--web.config.file`: an alert is never turned away for how many come."""

from __future__ import annotations

import json
import subprocess
import sys

import requests

ALERT = {"status": "firing", "labels": {"alertname": "A"}, "annotations": {}, "startsAt": "2026-01-01T00:00:00Z"}
GROUP = {
    "version": "4",
    "groupKey": "{}",
    "status": "firing",
    "receiver": "bridge",
    "groupLabels": {},
    "commonLabels": {},
    "commonAnnotations": {},
    "externalURL": "http://alertmanager:9093",
    "truncatedAlerts": 0,
    "alerts": [{**ALERT, "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "", "fingerprint": "a"}],
}


def test_the_rate_limit_leaves_alertmanagers_webhook_alone(tmp_path):
    """Alertmanager never repeats what it got a 429 for."""
    (tmp_path / "web.yml").write_text("rate_limit: {interval: 1h, burst: 1}\n")
    (tmp_path / "c.yaml").write_text(f"alert_bridge: {{data_dir: {tmp_path}}}\n")
    options = [
        "--config",
        str(tmp_path / "c.yaml"),
        "--web.listen-address",
        "127.0.0.1:0",
        "--web.config.file",
        str(tmp_path / "web.yml"),
    ]
    bridge = subprocess.Popen(
        [sys.executable, "-m", "cloudpulse", "alert-bridge", "--log-format", "json", *options],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert bridge.stderr is not None
        told = (json.loads(line) for line in bridge.stderr if line.startswith("{"))
        url = next(line["url"] for line in told if line["event"] == "listening")
        assert [requests.get(f"{url}/health", timeout=10).status_code for _ in range(2)] == [200, 429]
        posted = [requests.post(f"{url}/api/v1/alerts", json=GROUP, timeout=10).status_code for _ in range(3)]
        assert posted == [200, 200, 200]
        assert requests.get(f"{url}/api/v1/alerts", timeout=10).status_code == 429
    finally:
        bridge.terminate()
        bridge.communicate(timeout=20)
