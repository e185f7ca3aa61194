"""A storm on a real bridge: how soon 1,000 alerts a second are answered, each on disk before its 2xx, and delivered.

    python -m benchmarks.storm [--seconds 10] [--clients 16] [--rate 100] [--alerts N] [--only sqlite] [--of plain ...]

On SQLite and on a real PostgreSQL (fsync on), one after the other. Groups of 10 alerts with the usual labels, each of
its own incident, to a webhook receiver in a process of its own; the data goes to a temporary folder (TMPDIR chooses
the disk). `--rate` is in groups a second, all clients together, and a latency counts from the moment that a post was
due; with 0 the clients post as fast as they are answered. With `--alerts` a run ends after so many alerts instead of
after some seconds, and shows the bridge's memory on the way.

`--of` chooses what happens to them: `plain`; `summaries`, a receiver with a rate limit, for which nearly all wait;
`muted`, a route that is mute at all times; `fallback`, a receiver that always answers 500, so that another is told;
`insight`, a Prometheus that takes connections and never answers.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import itertools
import multiprocessing
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from alert_bridge.testing import BridgeProcess, eventually, free_port, webhook_body
from alert_bridge.testing_postgresql import PostgresServer, programs
from benchmarks.machine import cpu_seconds, facts, load

ALERTS = 10
LIMIT_MS = 100
LABELS = {
    "namespace": "shop",
    "instance": "10.0.0.1:9100",
    "severity": "warning",
    "job": "node",
    "cluster": "benchmark",
}
_HOOK = "type: webhook, concurrency: 8, url: 'http://127.0.0.1:{port}"
KINDS = {
    "plain": f"  receivers: [{{name: hook, insight: false, {_HOOK}/taken'}}]\n",
    "summaries": f"  receivers: [{{name: hook, insight: false, {_HOOK}/taken', "
    "rate_limit: {messages: 5, per: 2s}}]\n",
    "muted": f"  receivers: [{{name: hook, insight: false, {_HOOK}/taken'}}]\n"
    "  time_intervals: [{name: always, time_intervals: [{times: [{start_time: '00:00', end_time: '24:00'}]}]}]\n"
    "  routes: [{receivers: [hook], mute_time_intervals: [always]}]\n",
    "fallback": f"  receivers: [{{name: hook, insight: false, {_HOOK}/refused', give_up_after: 1s, fallback: other}}, "
    f"{{name: other, insight: false, {_HOOK}/taken'}}]\n"
    "  routes: [{receivers: [hook]}]\n",
    "insight": f"  receivers: [{{name: hook, {_HOOK}/taken'}}]\nprometheus: {{url: 'http://127.0.0.1:{{port}}/hangs'}}\n",
}


class Receiver:
    """A process that answers 200 under /taken, which it counts, 500 under /refused and never under /hangs."""

    def __init__(self) -> None:
        self.port = free_port()
        self._taken = multiprocessing.Value("i", 0)
        self._process = multiprocessing.Process(target=self._serve, daemon=True)
        self._process.start()

    @property
    def taken(self) -> int:
        """Posts answered with 200."""
        return int(self._taken.value)

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join()

    def _serve(self) -> None:
        async def serve() -> None:
            server = await asyncio.start_server(self._converse, "127.0.0.1", self.port, backlog=1000)
            await server.serve_forever()

        asyncio.run(serve())

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.lower().split(b"\r\n")
                lengths = [int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:")]
                await reader.readexactly(sum(lengths))
                if b" /hangs" in lines[0]:
                    await asyncio.sleep(3600)
                status = b"500 Broken" if b" /refused" in lines[0] else b"200 OK"
                writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
                if status == b"200 OK":
                    self._taken.value += 1
                if b"connection: close" in lines:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


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


@dataclass(frozen=True)
class Figures:
    """Of one run: times in seconds, memory in MiB by the number of alerts accepted until then."""

    latencies: list[float]
    took: float
    cpu: float
    taken: int
    memory: list[tuple[int, float]]

    def show(self, name: str) -> None:
        """Print them."""
        accepted = len(self.latencies) * ALERTS
        p50, p99 = (self.latencies[int(share * (len(self.latencies) - 1))] * 1000 for share in (0.5, 0.99))
        verdict = "within" if p99 < LIMIT_MS else "over"
        print(
            f"{name:22} {accepted / self.took:5.0f} alerts/s, p50 {p50:5.1f} ms, p99 {p99:6.1f} ms ({verdict} "
            f"{LIMIT_MS}), {self.cpu / accepted * 1000:.2f} ms CPU an alert, {self.taken} messages taken for "
            f"{len(self.latencies)} groups, {load()}",
            flush=True,
        )
        for alerts, mebibytes in self.memory:
            print(f"{name:22} {alerts:7} alerts: {mebibytes:.1f} MiB", flush=True)


def run(place: Path, kind: str, lines: str, options: argparse.Namespace) -> Figures:
    """One bridge under load."""
    receiver = Receiver()
    bridge = BridgeProcess(place, lines + KINDS[kind].replace("{port}", str(receiver.port)))
    memory: list[tuple[int, float]] = []
    try:
        process = psutil.Process(bridge.process.pid)
        begin, before = time.perf_counter(), cpu_seconds(process)
        posting = Load(bridge.url, options)
        while posting.going:
            time.sleep(0.05)
            accepted = len(posting.latencies) * ALERTS
            if options.alerts and accepted >= len(memory) * options.alerts / 10:
                memory.append((accepted, process.memory_info().rss / 2**20))
        took = time.perf_counter() - begin
        if kind == "plain":
            eventually(lambda: receiver.taken >= len(posting.latencies), 120)
        spent = cpu_seconds(process) - before
    finally:
        bridge.kill()
        receiver.stop()
    return Figures(sorted(posting.latencies), took, spent, receiver.taken, memory)


def main() -> None:
    """Run each kind once on each database and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument(
        "--rate", type=float, default=100, help="groups a second, all clients together; 0: all they can"
    )
    parser.add_argument("--alerts", type=int, help="end after so many, and show the memory")
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    parser.add_argument("--of", choices=list(KINDS), nargs="+", default=list(KINDS))
    options = parser.parse_args()
    print(f"{facts()}; {options.clients} clients, groups of {ALERTS} alerts")
    with tempfile.TemporaryDirectory() as folder:
        if options.only != "postgresql":
            for kind in options.of:
                run(Path(folder) / f"sqlite-{kind}", kind, "", options).show(f"SQLite {kind}")
        if options.only != "sqlite" and (found := programs()) is not None:
            server = PostgresServer(found, durable=True)
            try:
                for kind in options.of:
                    lines = f"  database: '{server.new_database()}'\n"
                    run(Path(folder) / f"postgresql-{kind}", kind, lines, options).show(f"PostgreSQL {kind}")
            finally:
                server.remove()


if __name__ == "__main__":
    main()
