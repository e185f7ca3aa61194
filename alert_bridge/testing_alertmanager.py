"""A real Alertmanager as a process, alone or as one of a pair; for tests."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import requests

from alert_bridge.testing import eventually, free_port

PROGRAM = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")

RECEIVER = "cloud.pulse"
"""With a point, which Alertmanager quotes in its webhooks."""


class Alertmanager:
    """Posts to the bridge at `bridge_url`, its data in `place`; a context manager that waits until it is ready.

    `port` is where it listens, one that is free unless given. `gossip` is the port of its cluster and `peers` those of
    the others; without them it is alone.
    """

    def __init__(
        self,
        place: Path,
        bridge_url: str,
        *,
        port: int | None = None,
        gossip: int | None = None,
        peers: Sequence[int] = (),
    ) -> None:
        place.mkdir(exist_ok=True)
        config = {
            "route": {
                "receiver": RECEIVER,
                "group_by": ["alertname"],
                "group_wait": "0s",
                "group_interval": "1s",
                "repeat_interval": "1h",
            },
            "receivers": [
                {"name": RECEIVER, "webhook_configs": [{"url": f"{bridge_url}/api/v1/alerts", "send_resolved": True}]}
            ],
        }
        (place / "alertmanager.yml").write_text(json.dumps(config), encoding="utf-8")
        self.url = f"http://127.0.0.1:{port or free_port()}"
        cluster = ["--cluster.listen-address="]
        if gossip is not None:
            cluster = [
                f"--cluster.listen-address=127.0.0.1:{gossip}",
                "--cluster.advertise-address=127.0.0.1:" + str(gossip),
                "--cluster.peer-timeout=2s",
                "--cluster.settle-timeout=2s",
                *(f"--cluster.peer=127.0.0.1:{port}" for port in peers),
            ]
        self._log = (place / "alertmanager.log").open("w", encoding="utf-8")
        assert PROGRAM is not None
        self._process = subprocess.Popen(  # noqa: S603  the real program
            [
                PROGRAM,
                f"--config.file={place}/alertmanager.yml",
                f"--storage.path={place}/alertmanager",
                f"--web.listen-address={self.url.removeprefix('http://')}",
                *cluster,
            ],
            stderr=self._log,
        )

    def tell(self, *alerts: Mapping[str, Any]) -> None:
        """Alerts as Prometheus sends them."""
        requests.post(f"{self.url}/api/v2/alerts", json=alerts, timeout=10).raise_for_status()

    def cluster(self) -> Mapping[str, Any]:
        """What it says of its cluster: `status`, `peers`."""
        status: Mapping[str, Any] = requests.get(f"{self.url}/api/v2/status", timeout=10).json()["cluster"]
        return status

    def __enter__(self) -> Alertmanager:
        eventually(self._ready, 30)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._log.close()

    def _ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/-/ready", timeout=2).ok
        except requests.ConnectionError:
            return False
