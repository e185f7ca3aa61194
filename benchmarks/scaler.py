"""Requests a second and p99 latency of a real `cloudpulse scaler` process with 2,000 series behind it.

    python benchmarks/scaler.py [--rate 500] [--seconds 20] [--series 2000]

Half of the requests are external (one series by label), half custom (one deployment by name), over kept-alive TLS
connections with a bearer token, the audit log on. The server is held to one core, this program to the others. First
at a fixed rate, where latency counts from the moment that a request was due; then as fast as one process can ask.
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
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from cloudpulse.testing import serving

TOKEN = "benchmark-0123456789"
CONNECTIONS = 8
NAMESPACES = 20


def prometheus(series: int) -> Any:
    """A WSGI app that answers a rule: `series` deployments in 20 namespaces, measured, forecast and scored."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        form = parse_qs(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode())
        now = float(form["time"][0])
        result: list[dict[str, Any]] = []
        if form["query"][0].startswith("group by"):
            result = [{"metric": {"horizon": "15m", "level": "0.9"}, "value": [now, "1"]}]
        else:
            for i in range(series):
                source = {"deployment": f"web-{i}", "namespace": f"ns{i % NAMESPACES}"}
                result += [{"metric": source, "value": [now, f"{i}.125"]}, *forecast(source, now, f"{i}.25")]
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()]

    return app


def forecast(source: dict[str, str], now: float, value: str) -> list[dict[str, Any]]:
    """A forecast of one series, when it was made, and its figures, as the rule's question marks them."""
    own = {"forecast": "rps", "job": "f", **source}
    horizon = {"horizon": "15m", **own}
    level = {"level": "0.9", **horizon}
    parts = (
        ("forecast", level, value),
        ("made", own, f"{now - 5}"),
        ("mase", horizon, "0.7"),
        ("coverage", level, "0.9"),
    )
    return [{"metric": {"cloudpulse_part": part, **labels}, "value": [now, text]} for part, labels, text in parts]


@contextlib.contextmanager
def scaler(url: str, folder: Path, core: int) -> Iterator[int]:
    """The process, on one core; yields its port once it is ready."""
    (folder / "cloudpulse.yaml").write_text(f"""
prometheus: {{url: {url}}}
forecaster: {{forecasts: [{{name: rps, query: 'sum by (namespace, deployment) (rate(requests_total[5m]))'}}]}}
scaler:
  data_dir: {folder}
  metrics:
    - {{name: ext, api: external, forecast: rps, horizon: 15m, resource: {{namespace: namespace}}}}
    - name: rps
      api: custom
      forecast: rps
      horizon: 15m
      resource: {{namespace: namespace, deployment: deployment}}
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
        yield port
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


def run(folder: Path, port: int, series: int, rate: float | None, seconds: float) -> tuple[list[float], float]:
    """Latencies (seconds) and the time that all took; `rate` None asks as fast as it can."""
    latencies: list[list[float]] = [[] for _ in range(CONNECTIONS)]
    failures: list[str] = []
    begin = time.perf_counter() + 0.5

    def work(number: int) -> None:
        connection = connect(folder, port)
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
    return [one for many in latencies for one in many], time.perf_counter() - begin


def report(title: str, latencies: list[float], took: float) -> None:
    """One line."""
    cuts = statistics.quantiles(latencies, n=1000)
    p50, p99, p999 = (1000 * cuts[i] for i in (499, 989, 998))
    print(
        f"{title}: {len(latencies) / took:.0f} requests/s, p50 {p50:.2f} ms, p99 {p99:.2f} ms, p99.9 {p999:.2f} ms, "
        f"max {1000 * max(latencies):.1f} ms ({len(latencies)} requests)"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=500)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--series", type=int, default=2000)
    options = parser.parse_args()
    first, *others = sorted(os.sched_getaffinity(0))
    if others:
        os.sched_setaffinity(0, set(others))
    with (
        tempfile.TemporaryDirectory() as name,
        serving(prometheus(options.series)) as url,
        scaler(url, Path(name), first) as port,
    ):
        report(f"at {options.rate:g}/s", *run(Path(name), port, options.series, options.rate, options.seconds))
        report("flat out", *run(Path(name), port, options.series, None, options.seconds))


if __name__ == "__main__":
    main()
