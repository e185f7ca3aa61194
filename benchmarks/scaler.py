"""Latency and CPU time of a real `cloudpulse scaler` process with 2,000 series behind each rule.

    python benchmarks/scaler.py [--rate 500] [--seconds 30] [--series 2000] [--rounds 2]

Two processes in turns, of the same two rules each: `plain`, a query served as it is, and `forecast`, the larger of a
forecast and of what is measured, behind a gate. What sets them apart on the same machine at the same time is what
evaluating a forecast costs those who ask; of a busy machine, nothing else says much.

Half of the requests are external (one series by label), half custom (one deployment by name), over kept-alive TLS
connections with a bearer token, the audit log on. The server is held to one core, this program to the others. First
at a fixed rate, where latency counts from the moment that a request was due; then as fast as one process can ask.
Less than 30 s would miss evaluations, which are 15 s apart.
CPU time is that of the whole server, a request's share with the evaluations of its time, and that of one evaluation.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import psutil

from cloudpulse.testing import serving

TOKEN = "benchmark-0123456789"
CONNECTIONS = 8
NAMESPACES = 20
NOW, MADE = "@now", "@made"
"""Stand for the time asked for and for 5 seconds before it."""
MEASURED = "sum by (namespace, deployment) (rate(requests_total[5m]))"


@dataclass(frozen=True)
class Scaler:
    """A running process."""

    folder: Path
    port: int
    process: psutil.Process

    def cpu_seconds(self) -> float:
        """The CPU time that it has used."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


@dataclass
class Load:
    """What requests took: latencies (seconds), how long all of them, and the server's CPU time."""

    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def add(self, other: Load) -> None:
        """Take up another's."""
        self.latencies += other.latencies
        self.seconds += other.seconds
        self.cpu_seconds += other.cpu_seconds


def prometheus(series: int, asked: list[str]) -> Any:
    """A WSGI app that answers a rule: `series` deployments in 20 namespaces, measured; forecast and scored if asked.

    It adds the rules' queries to `asked`. The answers are made beforehand but for their times, since whoever measures
    latencies in the same process would wait for it.
    """
    choice = answer([{"metric": {"horizon": "15m", "level": "0.9"}, "value": [NOW, "1"]}])
    sources = [({"deployment": f"web-{i}", "namespace": f"ns{i % NAMESPACES}"}, i) for i in range(series)]
    measured = [{"metric": source, "value": [NOW, f"{i}.125"]} for source, i in sources]
    both = answer([*measured, *(part for source, i in sources for part in forecast(source, f"{i}.25"))])
    plain = answer(measured)

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        form = parse_qs(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode())
        now, query = float(form["time"][0]), form["query"][0]
        made = choice
        if not query.startswith("group by"):
            asked.append(query)
            made = both if "cloudpulse_forecast" in query else plain
        start_response("200 OK", [("Content-Type", "application/json")])
        return [made.replace(f'"{NOW}"'.encode(), f"{now}".encode()).replace(MADE.encode(), f"{now - 5}".encode())]

    return app


def answer(result: list[dict[str, Any]]) -> bytes:
    """The vector, as Prometheus writes it."""
    made = {"status": "success", "data": {"resultType": "vector", "result": result}}
    return json.dumps(made, separators=(",", ":")).encode()


def forecast(source: dict[str, str], value: str) -> list[dict[str, Any]]:
    """A forecast of one series, when it was made, and its figures, as the rule's question marks them."""
    own = {"forecast": "rps", "job": "f", **source}
    horizon = {"horizon": "15m", **own}
    level = {"level": "0.9", **horizon}
    parts = (("forecast", level, value), ("made", own, MADE), ("mase", horizon, "0.7"), ("coverage", level, "0.9"))
    return [{"metric": {"cloudpulse_part": part, **labels}, "value": [NOW, text]} for part, labels, text in parts]


RULES = {"plain": f"query: '{MEASURED}'", "forecast": f"forecast: rps, horizon: 15m, reactive: '{MEASURED}'"}


@contextlib.contextmanager
def scaler(rule: str, url: str, core: int, interval: str = "15s") -> Iterator[Scaler]:
    """The process, on one core, once it is ready."""
    with tempfile.TemporaryDirectory() as name:
        yield from _scaler(rule, url, core, interval, Path(name))


def _scaler(rule: str, url: str, core: int, interval: str, folder: Path) -> Iterator[Scaler]:
    (folder / "cloudpulse.yaml").write_text(f"""
prometheus: {{url: {url}}}
scaler:
  data_dir: {folder}
  interval: {interval}
  metrics:
    - {{name: ext, api: external, {rule}, resource: {{namespace: namespace}}}}
    - {{name: rps, api: custom, {rule}, resource: {{namespace: namespace, deployment: deployment}}}}
  auth: {{tokens: [{{name: bench, token: {TOKEN}}}]}}
""")
    argv = [sys.executable, "-m", "cloudpulse", "scaler", "--config", str(folder / "cloudpulse.yaml")]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([*argv, "--web.listen-address", "127.0.0.1:0"], stderr=log)
    os.sched_setaffinity(process.pid, {core})
    try:
        port = 0
        while not port or ask(connect(folder, port), "/-/ready") != 200:
            time.sleep(0.2)
            if process.poll() is not None:
                raise SystemExit((folder / "log").read_text())
            line = next((row for row in (folder / "log").read_text().splitlines() if "listening" in row), "")
            port = int(line.rpartition(":")[2]) if line else 0
        yield Scaler(folder, port, psutil.Process(process.pid))
    finally:
        process.terminate()
        process.wait(10)


def connect(folder: Path, port: int) -> http.client.HTTPSConnection:
    """A connection that trusts the scaler's own certificate."""
    context = ssl.create_default_context(cafile=str(folder / "tls.crt"))
    return http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=10)


def ask(connection: http.client.HTTPSConnection, path: str) -> int:
    """One request; the status."""
    connection.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})
    response = connection.getresponse()
    response.read()
    return response.status


def path_of(i: int, series: int) -> str:
    """The i-th request: every series in turn, by either API."""
    one = i // 2 % series
    namespace = f"namespaces/ns{one % NAMESPACES}"
    if i % 2:
        return f"/apis/custom.metrics.k8s.io/v1beta2/{namespace}/deployments.apps/web-{one}/rps"
    return f"/apis/external.metrics.k8s.io/v1beta1/{namespace}/ext?labelSelector=deployment%3Dweb-{one}"


def run(scaler: Scaler, series: int, rate: float | None, seconds: float) -> Load:
    """Ask for `seconds`; `rate` None asks as fast as it can."""
    latencies: list[list[float]] = [[] for _ in range(CONNECTIONS)]
    failures: list[str] = []
    begin, spent = time.perf_counter() + 0.5, scaler.cpu_seconds()

    def work(number: int) -> None:
        connection = connect(scaler.folder, scaler.port)
        i = number
        while True:
            due = begin + i / rate if rate else time.perf_counter()
            if due > begin + seconds:
                return
            time.sleep(max(0.0, due - time.perf_counter()))
            if (code := ask(connection, path_of(i, series))) != 200:
                failures.append(f"{path_of(i, series)}: {code}")
                return
            latencies[number].append(time.perf_counter() - due)
            i += CONNECTIONS

    threads = [threading.Thread(target=work, args=(number,)) for number in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise SystemExit(f"not 200: {failures[0]}")
    took = time.perf_counter() - begin
    return Load([one for many in latencies for one in many], took, scaler.cpu_seconds() - spent)


def evaluation_seconds(scaler: Scaler, asked: list[str], seconds: float) -> float:
    """The CPU time of one evaluation, of a process that has nothing else to do."""
    before, spent = len(asked), scaler.cpu_seconds()
    time.sleep(seconds)
    return (scaler.cpu_seconds() - spent) / (len(asked) - before)


def report(title: str, load: Load) -> None:
    """One line."""
    cuts = statistics.quantiles(load.latencies, n=1000)
    p50, p99, p999 = (1000 * cuts[i] for i in (499, 989, 998))
    count = len(load.latencies)
    print(
        f"{title}: {count / load.seconds:.0f} requests/s, p50 {p50:.2f} ms, p99 {p99:.2f} ms, p99.9 {p999:.2f} ms, "
        f"max {1000 * max(load.latencies):.1f} ms, CPU {1e6 * load.cpu_seconds / count:.0f} us a request ({count})"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=500)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--series", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    first, *others = sorted(os.sched_getaffinity(0))
    if others:
        os.sched_setaffinity(0, set(others))
    paced, flat = {name: Load() for name in RULES}, {name: Load() for name in RULES}
    asked: list[str] = []
    with serving(prometheus(options.series, asked)) as url:
        for name, rule in [*RULES.items()] * options.rounds:
            with scaler(rule, url, first) as running:
                paced[name].add(run(running, options.series, options.rate, options.seconds))
                flat[name].add(run(running, options.series, None, options.seconds / 4))
        for name, rule in RULES.items():
            report(f"{name} at {options.rate:g}/s", paced[name])
            report(f"{name} flat out", flat[name])
            with scaler(rule, url, first, "1s") as running:
                taken = evaluation_seconds(running, asked, options.seconds)
            print(f"{name}: CPU {1000 * taken:.1f} ms an evaluation")


if __name__ == "__main__":
    main()
