"""What a scrape of the exporter costs: CPU, memory, time; beside node_exporter when it is on PATH.

python benchmarks/exporter.py [SCRAPES]
"""

from __future__ import annotations

import http.client
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
NODE_EXPORTER = "prometheus-node-exporter"
WARM_UP = 20
START_SECONDS = 10


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _scrape(connection: http.client.HTTPConnection) -> int:
    connection.request("GET", "/metrics")
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200, body[:200]
    return len(body)


def _until_up(port: int) -> float:
    """Seconds until the port answers."""
    start = time.perf_counter()
    while time.perf_counter() - start < START_SECONDS:
        try:
            _scrape(http.client.HTTPConnection("127.0.0.1", port, timeout=5))
        except ConnectionRefusedError:
            time.sleep(0.005)
        else:
            return time.perf_counter() - start
    raise SystemExit(f"nothing answers on port {port} after {START_SECONDS} s")


def _measure(title: str, command: list[str], port: int, scrapes: int) -> None:
    """Scrape over one kept connection, as Prometheus does, as fast as it answers."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        up = _until_up(port)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        size = [_scrape(connection) for _ in range(WARM_UP)][-1]
        watched = psutil.Process(process.pid)
        before, rss_before, times = watched.cpu_times(), watched.memory_info().rss, []
        for _ in range(scrapes):
            start = time.perf_counter()
            _scrape(connection)
            times.append(time.perf_counter() - start)
        after, rss = watched.cpu_times(), watched.memory_info().rss
        cpu = after.user + after.system - before.user - before.system
        times.sort()
        print(
            f"{title:26} {cpu / scrapes * 1e3:9.2f} {_at(times, 0.5):8.2f} {_at(times, 0.99):8.2f}"
            f" {rss / 1e6:8.1f} {(rss - rss_before) / 1e6:+8.1f} {up * 1e3:9.0f} {size / 1e3:7.1f}"
        )
    finally:
        process.terminate()
        process.wait(15)


def _at(rising: list[float], level: float) -> float:
    """Milliseconds at a quantile."""
    return rising[min(int(level * len(rising)), len(rising) - 1)] * 1e3


def main(scrapes: int) -> None:
    """Print the table."""
    print(f"{scrapes} scrapes, {len(psutil.pids())} processes and {psutil.cpu_count()} CPUs on this host")
    print(
        f"{'':26} {'CPU ms':>9} {'p50 ms':>8} {'p99 ms':>8} {'RSS MB':>8} {'grew MB':>8} {'start ms':>9} {'page kB':>7}"
    )
    port = _free_port()
    ours = [sys.executable, "-m", "cloudpulse", "exporter", "--web.listen-address", f"127.0.0.1:{port}"]
    _measure("cloudpulse exporter", ours, port, scrapes)
    if (node_exporter := shutil.which(NODE_EXPORTER)) is None:
        print(f"{NODE_EXPORTER} isn't on PATH, so nothing to compare with")
        return
    port = _free_port()
    _measure(NODE_EXPORTER, [node_exporter, f"--web.listen-address=127.0.0.1:{port}"], port, scrapes)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
