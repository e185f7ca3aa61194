"""How many alerts a second a real bridge accepts, each on disk before its 2xx, and how long an answer takes.

python benchmarks/alert_bridge.py [--seconds 10] [--clients 16] [--rate GROUPS_PER_SECOND] [--alerts N]

On SQLite and on a real PostgreSQL (fsync on), one after the other. Groups of 10 alerts with the usual labels, each of
its own incident, to one receiver that logs them; the data goes to a temporary folder (TMPDIR chooses the disk).
Without --rate the clients post as fast as they are answered. With --alerts it ends after so many alerts instead of
after some seconds, and shows the bridge's memory on the way.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import platform
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil

# This file has the package's name, and a script's own folder comes first on the path.
sys.path[0] = str(Path(__file__).parents[1])

from alert_bridge.testing import BridgeProcess, webhook_body  # noqa: E402  see above
from alert_bridge.testing_postgresql import PostgresServer, programs  # noqa: E402

ALERTS = 10
LABELS = {
    "namespace": "shop",
    "instance": "10.0.0.1:9100",
    "severity": "warning",
    "job": "node",
    "cluster": "benchmark",
}


class Load:
    """Clients that post until `enough`; `latencies` in seconds, one for each accepted group, as they come."""

    def __init__(self, url: str, options: argparse.Namespace) -> None:
        self.latencies: list[float] = []
        self._address = urlsplit(url).netloc
        self._interval = options.clients / options.rate if options.rate else 0.0
        self._begin = time.perf_counter()
        self._end = float("inf") if options.alerts else self._begin + options.seconds
        self._groups = options.alerts // ALERTS if options.alerts else sys.maxsize
        self._threads = [
            threading.Thread(target=self._post, args=(client, self._begin + client * self._interval / options.clients))
            for client in range(options.clients)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def going(self) -> bool:
        """Whether a client still posts."""
        return any(thread.is_alive() for thread in self._threads)

    def _post(self, client: int, begin: float) -> None:
        """`interval` seconds between posts, late ones counted from when they were due."""
        connection = http.client.HTTPConnection(self._address, timeout=30)
        for number in itertools.count():
            due = begin + number * self._interval if self._interval else time.perf_counter()
            if due >= self._end or len(self.latencies) >= self._groups:
                return
            time.sleep(max(0.0, due - time.perf_counter()))
            name = f"{client}-{number}"
            body = webhook_body(*[(f"{name}-{i}", "firing") for i in range(ALERTS)], key=name, labels=LABELS)
            started = due if self._interval else time.perf_counter()
            connection.request("POST", "/api/v1/alerts", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise SystemExit(f"the bridge answered {answer.status}")
            self.latencies.append(time.perf_counter() - started)


def run(name: str, place: Path, lines: str, options: argparse.Namespace) -> None:
    """One bridge under load; prints its figures."""
    bridge = BridgeProcess(place, lines)
    memory: list[tuple[int, float]] = []
    try:
        process = psutil.Process(bridge.process.pid)
        begin = time.perf_counter()
        load = Load(bridge.url, options)
        while load.going:
            time.sleep(0.05)
            accepted = len(load.latencies) * ALERTS
            if options.alerts and accepted >= len(memory) * options.alerts / 10:
                memory.append((accepted, process.memory_info().rss / 2**20))
        took = time.perf_counter() - begin
        spent = process.cpu_times()
    finally:
        bridge.kill()
    latencies = sorted(load.latencies)
    accepted = len(latencies) * ALERTS
    p50, p99 = (latencies[int(share * (len(latencies) - 1))] * 1000 for share in (0.5, 0.99))
    print(
        f"{name}: {accepted / took:.0f} alerts/s accepted in {took:.1f} s, p50 {p50:.1f} ms, p99 {p99:.1f} ms, ", end=""
    )
    print(f"{(spent.user + spent.system) / accepted * 1000:.2f} ms CPU an alert, delivery included")
    for alerts, mebibytes in memory:
        print(f"{name}:   {alerts:7} alerts: {mebibytes:.1f} MiB")


def main() -> None:
    """Run once on each and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rate", type=float, help="groups a second, all clients together")
    parser.add_argument("--alerts", type=int, help="end after so many, and show the memory")
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, {options.clients} clients, groups of {ALERTS} alerts")
    with tempfile.TemporaryDirectory() as folder:
        if options.only != "postgresql":
            run("SQLite", Path(folder) / "sqlite", "", options)
        if options.only != "sqlite" and (found := programs()) is not None:
            server = PostgresServer(found, durable=True)
            try:
                lines = f"  database: '{server.new_database()}'\n"
                run("PostgreSQL", Path(folder) / "postgresql", lines, options)
            finally:
                server.remove()


if __name__ == "__main__":
    main()
