"""A real bridge process that asks a real Prometheus, a hanging one, and none."""

from __future__ import annotations

import signal
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from alert_bridge.testing import BridgeProcess, Receiver, eventually
from tests.alert_bridge.insights.surge import WEB, group

Start = Callable[[str], BridgeProcess]


@pytest.fixture
def hanging() -> Iterator[str]:
    """The URL of something that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def lines(receiver_url: str, prometheus_url: str) -> str:
    return (
        f"  receivers: [{{name: one, type: webhook, url: {receiver_url}, concurrency: 1}}]\n"
        f"prometheus: {{url: '{prometheus_url}'}}\n"
    )


def post(bridge: BridgeProcess, name: str = "a") -> None:
    alerts = group(("up > 5", {**WEB, "n": name}, name))
    body = msgspec.json.encode(msgspec.structs.replace(alerts, group_key=name))
    request = urllib.request.Request(f"{bridge.url}/api/v1/alerts", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 200


def metric(bridge: BridgeProcess, name: str) -> float:
    with urllib.request.urlopen(f"{bridge.url}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    return float(next(line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(name)))


def results(bridge: BridgeProcess, result: str) -> float:
    return metric(bridge, f'cloudpulse_alert_bridge_insights_total{{result="{result}"}}')


def test_a_message_waits_for_its_insight(
    start_bridge: Start, receiver: tuple[Receiver, str], prometheus_url: str
) -> None:
    told, url = receiver
    bridge = start_bridge(lines(url, prometheus_url))
    post(bridge)
    eventually(lambda: len(told.taken) == 1, 30)
    assert results(bridge, "found") + results(bridge, "nothing") == 1
    assert "Traceback" not in bridge.log


def test_without_a_prometheus_messages_go_all_the_same(start_bridge: Start, receiver: tuple[Receiver, str]) -> None:
    told, url = receiver
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    bridge = start_bridge(lines(url, f"http://127.0.0.1:{port}"))
    for n in range(6):
        post(bridge, str(n))
    eventually(lambda: len(told.taken) == 6, 30)
    assert results(bridge, "paused") >= 1
    assert results(bridge, "late") == 0


def test_one_that_hangs_delays_few_messages_and_no_exit(
    start_bridge: Start, receiver: tuple[Receiver, str], hanging: str
) -> None:
    told, url = receiver
    bridge = start_bridge(lines(url, hanging))
    for n in range(30):
        post(bridge, str(n))
    eventually(lambda: len(told.taken) == 30, 60)
    assert results(bridge, "paused") >= 20
    bridge.process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    assert bridge.process.wait(60) == 0
    assert time.monotonic() - began < 30  # the promise is 10 s; a busy machine decides no test


def test_it_may_be_switched_off(start_bridge: Start, receiver: tuple[Receiver, str], hanging: str) -> None:
    told, url = receiver
    section, prometheus = lines(url, hanging).splitlines()
    bridge = start_bridge(f"{section}\n  insight: {{enabled: false}}\n{prometheus}\n")
    post(bridge)
    eventually(lambda: len(told.taken) == 1, 30)
    with urllib.request.urlopen(f"{bridge.url}/metrics", timeout=30) as answer:
        assert b"insights_total" not in answer.read()


def test_what_draws_is_not_loaded_where_nobody_asks_for_pictures(start_bridge: Start, prometheus_url: str) -> None:
    def draws(bridge: BridgeProcess) -> bool:
        return "matplotlib" in Path(f"/proc/{bridge.process.pid}/maps").read_text()

    section = f"prometheus: {{url: '{prometheus_url}'}}\n"
    logging = start_bridge(section)
    asking = start_bridge(lines("http://127.0.0.1:1", prometheus_url))
    eventually(lambda: draws(asking), 60)
    assert not draws(logging)
