"""The whole stack as real processes on free ports, with a real Prometheus and Alertmanager, and a receiver to page."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3
import yaml

from cloudpulse import share
from cloudpulse.local import demo, layout, ports, programs
from cloudpulse.local.stack import Part, Stack
from cloudpulse.testing import serving

WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
"""Beside others that start stacks, too: each has ports of its own to choose from."""
TOKEN = "a-token-of-the-end-to-end-test"


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses now, below those that the system gives to connections by itself."""
    found: list[int] = []
    first = 20_000 + 3_000 * (WORKER % 4)
    for port in random.sample(range(first, first + 3_000), 3_000):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no ports are free")


def until(found: Callable[[], Any], seconds: float, what: str) -> Any:
    """The first true answer of `found`, asked again and again; fails the test after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := found():
            return answer
        time.sleep(0.2)
    pytest.fail(f"not within {seconds:g} s: {what}")


class Pager:
    """A receiver of the bridge's webhook: keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        pager = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                pager.told.append(json.loads(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/page"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def firing(self, alertname: str) -> list[dict[str, Any]]:
        """Every firing alert of that name in every post, in order."""
        return [
            alert
            for post in self.told
            for alert in post["alerts"]
            if alert["labels"]["alertname"] == alertname and alert["status"] == "firing"
        ]


@dataclass
class Running:
    """The stack while it runs, and how to ask it."""

    stack: Stack
    parts: dict[str, Part]
    data_dir: Path
    pager: Pager
    asked: list[str] = field(default_factory=list)

    def url(self, name: str, path: str = "") -> str:
        return f"{self.parts[name].url}{path}"

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The instant vector of Prometheus, [] while it is away."""
        try:
            answer = requests.get(self.url("prometheus", "/api/v1/query"), params={"query": expression}, timeout=5)
            result: list[dict[str, Any]] = answer.json()["data"]["result"]
        except requests.RequestException:
            return []
        return result

    def scaler(self, path: str) -> requests.Response:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
            headers = {"Authorization": f"Bearer {TOKEN}"}
            return requests.get(self.url("scaler", path), headers=headers, verify=False, timeout=5)

    @property
    def keda(self) -> str:
        """Where the scaler answers KEDA."""
        tree = yaml.safe_load((self.data_dir / "cloudpulse.yaml").read_text())
        return str(tree["scaler"]["keda"]["listen"])

    def metrics(self, name: str) -> dict[str, float]:
        """Series -> value, as a service shows them now."""
        lines = requests.get(self.url(name, "/metrics"), timeout=5).text.splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {series: float(value) for series, _, value in pairs}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Everything up, with quick intervals."""
    with started(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@contextlib.contextmanager
def started(
    data_dir: Path, prepare: Callable[[Path, dict[str, int]], None] = lambda data_dir, taken: None
) -> Iterator[Running]:
    """Everything up: scrapes and rounds every second or two instead of 15 and 60.

    `prepare` may change the configs and the Prometheus data in `data_dir` before anything starts; it gets the ports.
    """
    taken = dict(zip(ports.DEFAULTS, free_ports(len(ports.DEFAULTS)), strict=True))
    pager = Pager()
    layout.write_files(_config(data_dir, pager.url), taken, data_dir)
    _quicken(data_dir)
    found = programs.find()
    replay = demo.prepare(data_dir / "demo", found, demo.load(), f"localhost:{taken['demo']}", time.time())
    prepare(data_dir, taken)
    with (
        serving(demo.face(replay, time.time), f"127.0.0.1:{taken['demo']}"),
        Stack(data_dir / "logs", layout.environment()) as stack,
    ):
        parts = {part.name: part for part in layout.parts(found, taken, data_dir, with_demo=True)}
        for part in parts.values():
            stack.start(part)
        for part in parts.values():
            stack.wait_ready(part, 60)
        yield Running(stack, parts, data_dir, pager)
    pager.server.shutdown()


def _config(data_dir: Path, pager_url: str) -> Path:
    tree = yaml.safe_load(share.path("examples", "cloudpulse.yaml").read_text())
    demand = next(one for one in tree["forecaster"]["forecasts"] if one["name"] == "demand")
    # Below every app's demand at any time of day but the quietest, so that an alert is due at once.
    demand |= {"step": "1m", "every": "1s", "thresholds": [1], "models": ["seasonal_naive", "profile"]}
    tree["alert_bridge"] |= {
        "receivers": [{"name": "pager", "type": "webhook", "url": pager_url}],
        "routes": [{"match": {"alertname": "DemandOverCapacityAhead"}, "receivers": ["pager"]}],
    }
    metric = {"name": "demand_ahead", "api": "external", "forecast": "demand", "horizon": "1h", "level": 0.9}
    tree["scaler"] |= {
        "interval": "1s",
        "auth": {"tokens": [{"name": "test", "token": TOKEN}]},
        "metrics": [{**metric, "max_age": "20s"}],
    }
    path = data_dir / "given.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def _quicken(data_dir: Path) -> None:
    rules = data_dir / "rules"
    rules.mkdir()
    for source in share.path("prometheus", "rules").glob("*.yml"):
        (rules / source.name).write_text(source.read_text().replace("for: 2m", "for: 3s"))
    path = data_dir / "prometheus.yml"
    text = path.read_text().replace("15s", "2s").replace(str(share.path("prometheus", "rules")), str(rules))
    path.write_text(text)
    path = data_dir / "alertmanager.yml"
    text = path.read_text().replace("group_by: [alertname]", "group_by: [alertname, app]")
    path.write_text(text.replace("group_wait: 5s", "group_wait: 1s"))
