"""How long after it is stored an event reaches the clients of a real bridge's stream.

    python -m benchmarks.stream [--clients 50] [--rate 50] [--seconds 10]

`--rate` webhooks a second, each of its own incident and with one alert, to a receiver that logs it: two events each.
Clients are the package `websockets`, in a process of their own; both clocks are this machine's. The latency is from
the event's `at`, taken within the transaction, to when a client has it: the commit and its fsync are part of it.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import multiprocessing
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from websockets.asyncio.client import connect

from alert_bridge.testing import BridgeProcess, webhook_body
from benchmarks.machine import cpu_seconds, facts

LIMIT_MS = 1000


async def listen(url: str, clients: int, events: int, ready: threading.Event, latencies: list[float]) -> None:
    """Each client until it has so many events."""
    waiting = clients

    async def one() -> None:
        nonlocal waiting
        async with connect(url, compression=None) as client:
            await client.recv()
            waiting -= 1
            if not waiting:
                ready.set()
            for _ in range(events):
                told = json.loads(await client.recv())
                latencies.append(time.time() - datetime.fromisoformat(told["at"]).timestamp())

    await asyncio.gather(*(one() for _ in range(clients)))


def hear(url: str, clients: int, events: int, ready: threading.Event, results: multiprocessing.Queue) -> None:
    """The clients' process."""
    latencies: list[float] = []
    asyncio.run(listen(url, clients, events, ready, latencies))
    results.put(sorted(latencies))


def main() -> None:
    """Run once and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    posts = int(options.rate * options.seconds)
    with tempfile.TemporaryDirectory() as place:
        bridge = BridgeProcess(Path(place) / "bridge")
        try:
            ready, results = multiprocessing.Event(), multiprocessing.Queue()
            url = f"{bridge.url.replace('http', 'ws', 1)}/api/v1/stream"
            arguments = (url, options.clients, 2 * posts, ready, results)
            listening = multiprocessing.Process(target=hear, args=arguments, daemon=True)
            listening.start()
            if not ready.wait(60):
                raise SystemExit("the clients could not connect")
            connection = http.client.HTTPConnection(urlsplit(bridge.url).netloc, timeout=30)
            process = psutil.Process(bridge.process.pid)
            before = cpu_seconds(process)
            began = time.perf_counter()
            for number in range(posts):
                time.sleep(max(0.0, began + number / options.rate - time.perf_counter()))
                connection.request("POST", "/api/v1/alerts", webhook_body((str(number), "firing"), key=str(number)))
                connection.getresponse().read()
            took = time.perf_counter() - began
            latencies = results.get(timeout=60)
            used = cpu_seconds(process) - before
        finally:
            bridge.kill()
    rate = f"{2 * posts / took:.0f} events/s, {took:.1f} s"
    print(f"{facts()}; {options.clients} clients, {rate}")
    print(f"received: {len(latencies)} of {options.clients * 2 * posts}; the bridge's CPU: {used / took:.0%} of a core")
    for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1)):
        print(f"{name}: {latencies[int(share * (len(latencies) - 1))] * 1000:.0f} ms (limit {LIMIT_MS})")


if __name__ == "__main__":
    main()
