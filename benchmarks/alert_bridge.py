"""How many alerts a second a real bridge accepts, each on disk before its 2xx, and how long an answer takes.

python benchmarks/alert_bridge.py [--seconds 10] [--clients 16] [--rate GROUPS_PER_SECOND]

Groups of 10 alerts with the usual labels, each of its own incident, to one receiver that logs them; the data goes to
a temporary folder (TMPDIR chooses the disk). Without --rate the clients post as fast as they are answered.
"""

from __future__ import annotations

import argparse
import http.client
import platform
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

# This file has the package's name, and a script's own folder comes first on the path.
sys.path[0] = str(Path(__file__).parents[1])

from alert_bridge.testing import BridgeProcess, webhook_body  # noqa: E402  see above

ALERTS = 10
LABELS = {
    "namespace": "shop",
    "instance": "10.0.0.1:9100",
    "severity": "warning",
    "job": "node",
    "cluster": "benchmark",
}


def post(address: str, client: int, begin: float, end: float, interval: float, latencies: list[float]) -> None:
    """Post until `end`; `interval` seconds between posts, late ones counted from when they were due."""
    connection = http.client.HTTPConnection(address, timeout=30)
    number = 0
    while True:
        due = begin + number * interval if interval else time.perf_counter()
        if due >= end:
            return
        time.sleep(max(0.0, due - time.perf_counter()))
        name = f"{client}-{number}"
        body = webhook_body(*[(f"{name}-{i}", "firing") for i in range(ALERTS)], key=name, labels=LABELS)
        started = due if interval else time.perf_counter()
        connection.request("POST", "/api/v1/alerts", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise SystemExit(f"the bridge answered {answer.status}")
        latencies.append(time.perf_counter() - started)
        number += 1


def main() -> None:
    """Run once and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rate", type=float, help="groups a second, all clients together")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        bridge = BridgeProcess(Path(place) / "bridge")
        try:
            latencies: list[float] = []
            begin = time.perf_counter()
            interval = options.clients / options.rate if options.rate else 0
            threads = [
                threading.Thread(
                    target=post,
                    args=(
                        urlsplit(bridge.url).netloc,
                        client,
                        begin + client * interval / options.clients,
                        begin + options.seconds,
                        interval,
                        latencies,
                    ),
                )
                for client in range(options.clients)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            took = time.perf_counter() - begin
        finally:
            bridge.kill()
    latencies.sort()
    print(f"Python {platform.python_version()}, {options.clients} clients, groups of {ALERTS} alerts, {took:.1f} s")
    print(f"accepted alerts/s: {len(latencies) * ALERTS / took:.0f}")
    for share in (0.5, 0.99):
        print(f"p{share * 100:.0f} latency: {latencies[int(share * (len(latencies) - 1))] * 1000:.1f} ms")


if __name__ == "__main__":
    main()
