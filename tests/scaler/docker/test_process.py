"""`cloudpulse scaler` as a process beside a real Docker Engine."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudpulse.promql import Series
from cloudpulse.testing import FakeSource, query_api, serving
from tests.scaler.docker import engines
from tests.scaler.docker.test_swarm import SPEC

pytestmark = pytest.mark.e2e


class Scaler:
    """The process, asked over HTTPS."""

    def __init__(self, folder: Path, config: str) -> None:
        self._folder, self.config = folder, folder / "cloudpulse.yaml"
        self.config.write_text(config)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port = probe.getsockname()[1]
        listen = ["--web.listen-address", f"127.0.0.1:{self._port}", "--log-format", "json"]
        argv = [sys.executable, "-m", "cloudpulse", "scaler", "--config", str(self.config), *listen]
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen(argv, stderr=log)

    def get(self, path: str) -> str:
        """The body, whatever the status; "" while nobody listens."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with urllib.request.urlopen(f"https://127.0.0.1:{self._port}{path}", context=context, timeout=5) as reply:
                return str(reply.read().decode())
        except urllib.error.HTTPError as error:
            return error.read().decode()
        except OSError:
            return ""

    def service(self, name: str) -> dict[str, Any]:
        """What /health says of a service."""
        health = json.loads(self.get("/health") or "{}")
        return dict(health.get("docker", {}).get("services", {}).get(name, {}))

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The log's lines of an event."""
        lines = map(json.loads, (self._folder / "log").read_text().splitlines())
        return [line for line in lines if line["event"] == event]


@pytest.fixture
def scaler(tmp_path: Path) -> Iterator[Callable[[str], Scaler]]:
    with contextlib.ExitStack() as stack:

        def start(config: str) -> Scaler:
            made = Scaler(tmp_path, config)
            stack.callback(made.process.wait, 10)
            stack.callback(made.process.kill)
            return made

        yield start


def _until(condition: Callable[[], object], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "took too long"
        time.sleep(0.1)


def test_a_swarm_service_follows_the_forecast_through_failures(
    tmp_path: Path, scaler: Callable[[str], Scaler], forecast: Callable[..., list[Series]]
) -> None:
    age = 20.0

    def samples(query: str) -> list[Series]:
        now = time.time() - 10  # whatever the host has to do, it is in the past of the evaluation
        return forecast(1150.0, now, now - age, app="web")

    config = """
prometheus: {{url: {url}}}
scaler:
  data_dir: {folder}/data
  interval: 1s
  metrics: [{{name: ahead, api: external, forecast: web_rps, horizon: 15m, floor: none, max_age: 2m}}]
  auth: {{anonymous: true}}
  docker:
    host: unix://{engine}
    interval: 1s
    dry_run: {dry}
    services:
      - {{swarm: shop_web, metric: ahead, selector: app=web, target: 100, min: 2, max: 20}}
      - {{swarm: nosuch, metric: ahead, target: 100, max: 20}}
"""
    spec = {**SPEC, "Name": "shop_web"}
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(serving(query_api(FakeSource(samples, time.time))))
        engine = stack.enter_context(contextlib.ExitStack())
        path = engine.enter_context(engines.real())
        assert engines.ask(path, "POST", "/services/create", json.dumps(spec).encode())[0] == 201

        def replicas() -> int:
            return int(engines.ask(path, "GET", "/services/shop_web")[1]["Spec"]["Mode"]["Replicated"]["Replicas"])

        def text(dry: str) -> str:
            return config.format(url=url, folder=tmp_path, engine=path, dry=dry)

        process = scaler(text("true"))
        _until(lambda: process.service("shop_web").get("desired") == 6)
        (would,) = process.lines("would scale")
        assert (would["from"], would["to"], would["source"], replicas()) == (2, 6, "forecast:web_rps", 2)
        assert process.service("nosuch")["problem"].startswith("there is no Swarm service nosuch")
        assert 'cloudpulse_scaler_docker_desired_replicas{service="shop_web"} 6' in process.get("/metrics")

        process.config.write_text(text("false"))
        process.process.send_signal(signal.SIGHUP)
        _until(lambda: replicas() == 12)
        assert [(line["from"], line["to"], line["value"]) for line in process.lines("scaled")] == [
            (2, 6, 1150),
            (6, 12, 1150),
        ]

        age = 300.0  # the forecaster is away: what is there stays
        _until(lambda: "no value now" in process.service("shop_web")["problem"])
        assert (replicas(), process.service("shop_web")["desired"]) == (12, None)

        engine.close()
        _until(lambda: "can't be reached" in process.service("shop_web")["problem"])
        assert process.get("/-/ready").startswith("scaler is not ready")
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(10) == 0


def test_the_example_stack_is_one_that_docker_takes() -> None:
    stack = Path(__file__).parents[3] / "examples" / "docker" / "stack.yaml"
    argv = ["docker", "stack", "config"]
    if shutil.which("docker") is None or subprocess.run([*argv, "--help"], capture_output=True, check=False).returncode:
        pytest.skip("needs docker's command line on PATH, one that knows `docker stack config` (23 and newer)")
    done = subprocess.run([*argv, "-c", str(stack)], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert "node.role == manager" in done.stdout
