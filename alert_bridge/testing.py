"""Doubles for tests and benchmarks: webhook bodies, a receiver that answers as told, the bridge as a real process."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def webhook_body(
    *alerts: tuple[str, str], key: str = "{}:{}", labels: dict[str, str] | None = None, **changes: object
) -> bytes:
    """A webhook body; each alert is (fingerprint, status)."""
    told = [
        {
            "status": status,
            "labels": {"alertname": "Test", "pod": fingerprint, **(labels or {})},
            "annotations": {},
            "startsAt": "2026-11-23T14:32:05.680718Z",
            "endsAt": "0001-01-01T00:00:00Z" if status == "firing" else "2026-11-23T15:00:00Z",
            "generatorURL": "",
            "fingerprint": fingerprint,
        }
        for fingerprint, status in alerts or [("a", "firing")]
    ]
    status = "firing" if any(alert["status"] == "firing" for alert in told) else "resolved"
    group = {
        "version": "4",
        "groupKey": key,
        "receiver": "bridge",
        "status": status,
        "alerts": told,
        "groupLabels": {},
        "commonLabels": {"alertname": "Test"},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager.example:9093",
        "truncatedAlerts": 0,
    }
    return json.dumps(group | changes).encode()


class Receiver:
    """A WSGI app that keeps what is posted and answers what `answer(post)` says: status and headers."""

    def __init__(self) -> None:
        self.answer: Callable[[dict[str, Any]], tuple[int, dict[str, str]]] = lambda _: (200, {})
        self.posts: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        raw = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        headers = {name[5:].replace("_", "-"): value for name, value in environ.items() if name.startswith("HTTP_")}
        post = {"path": environ["PATH_INFO"], "headers": headers, "raw": raw, "body": json.loads(raw)}
        status, answered = self.answer(post)
        with self._lock:
            self.posts.append(post | {"status": status})
        echo = f"you sent {environ.get('HTTP_AUTHORIZATION')} to {environ['PATH_INFO']}".encode()
        start_response(f"{status} Told", [("Content-Length", str(len(echo))), *answered.items()])
        return [echo]

    @property
    def taken(self) -> list[dict[str, Any]]:
        """The posts answered with 2xx."""
        return [post for post in self.posts if post["status"] < 300]


_URL = re.compile(r'\burl(?:=|": ?")(http://[^\s",]+)')
"""In a log line of either format."""


class BridgeProcess:
    """`cloudpulse alert-bridge` as a real process on a free port, with its data in `place`; starts at construction.

    `lines` are further YAML lines of the section, indented by two; `options` more of the command line.
    """

    def __init__(self, place: Path, lines: str = "", *options: str) -> None:
        self._options = options
        self.data_dir = place / "data"
        self._config = place / "cloudpulse.yaml"
        self._log = place / "log"
        place.mkdir(parents=True, exist_ok=True)
        self._config.write_text(f"alert_bridge:\n  data_dir: {self.data_dir}\n{lines}", encoding="utf-8")
        self.start()

    def start(self) -> None:
        """Start it (again) and wait until it listens."""
        options = [
            "--config",
            str(self._config),
            "--web.listen-address",
            "127.0.0.1:0",
            "--log-format",
            "json",
            *self._options,
        ]
        with self._log.open("w") as log:
            self.process = subprocess.Popen(  # noqa: S603  our own program
                [sys.executable, "-m", "cloudpulse", "alert-bridge", *options], stderr=log
            )
        eventually(lambda: bool(self._listening()) or self.process.poll() is not None, 30)
        if self.process.poll() is not None:
            raise RuntimeError(f"the bridge did not start: {self.log}")
        self.url: str = self._listening()[0]

    @property
    def log(self) -> str:
        """What this start has logged so far, JSON lines."""
        return self._log.read_text(encoding="utf-8")

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait(10)

    def _listening(self) -> list[str]:
        lines = (line for line in self.log.splitlines(keepends=True) if "listening" in line and line.endswith("\n"))
        return [url for line in lines for url in _URL.findall(line)]


def free_port() -> int:
    """A port of loopback that nothing listens on now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def eventually(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until it holds; raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s")
        time.sleep(0.02)
