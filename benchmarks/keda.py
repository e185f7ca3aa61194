"""GetMetrics a second and p99 latency of a real `cloudpulse scaler` with 2,000 series, beside one that does nothing.

    python -m benchmarks.keda [--rate 500] [--seconds 10] [--series 2000]

Both servers are held to one core in turn, this program to the others, and asked alike: first at a fixed rate, where
latency counts from the moment that a call was due, then as fast as 32 calls at once go. The one that does nothing
parses the request and answers a constant, so the ratio is what the rules, the meters and the audit log cost on top of
gRPC. The client is Python, too, and may be what holds the fastest back; it does so for both.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc

from benchmarks.scaler import NAMESPACES, prometheus
from cloudpulse.testing import serving
from scaler.keda.externalscaler_pb2 import GetMetricsRequest, GetMetricsResponse, MetricValue, ScaledObjectRef
from scaler.keda.servicer import SERVICE

AT_ONCE = 32


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


async def nothing(listen: str) -> None:
    """Serve GetMetrics with a constant until killed."""
    answer = GetMetricsResponse(metricValues=[MetricValue(metricName="ext", metricValueFloat=1.0)])

    async def metrics(_request: GetMetricsRequest, _context: Any) -> GetMetricsResponse:
        return answer

    handler = grpc.unary_unary_rpc_method_handler(
        metrics,
        request_deserializer=GetMetricsRequest.FromString,
        response_serializer=GetMetricsResponse.SerializeToString,
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"GetMetrics": handler}),))
    server.add_insecure_port(listen)
    await server.start()
    await server.wait_for_termination()


def config(prometheus_url: str, folder: Path, listen: str) -> list[str]:
    """The arguments of a scaler with one rule over all series."""
    path = folder / "cloudpulse.yaml"
    path.write_text(f"""
prometheus: {{url: {prometheus_url}}}
scaler:
  data_dir: {folder}
  metrics: [{{name: ext, api: external, forecast: rps, horizon: 15m, resource: {{namespace: namespace}}}}]
  auth: {{anonymous: true}}
  keda: {{listen: '{listen}'}}
""")
    return ["cloudpulse", "scaler", "--config", str(path), "--web.listen-address", "127.0.0.1:0"]


@contextlib.contextmanager
def served(module: list[str], listen: str, folder: Path, core: int) -> Iterator[None]:
    """`python -m MODULE` on one core, once it answers."""
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", *module], stderr=log)
    os.sched_setaffinity(process.pid, {core})
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(grpc.RpcError), grpc.insecure_channel(listen) as channel:
                channel.unary_unary(f"/{SERVICE}/GetMetrics")(request_of(0, 1).SerializeToString(), timeout=2)
                break
            if time.monotonic() > deadline or process.poll() is not None:
                raise SystemExit((folder / "log").read_text())
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(10)


def request_of(i: int, series: int) -> GetMetricsRequest:
    """The i-th call: each series in turn, as its own ScaledObject asks for it."""
    one = i % series
    metadata = {
        "scalerAddress": "cloudpulse:9814",
        "metricName": "ext",
        "targetValue": "100",
        "selector": f"deployment=web-{one}",
    }
    ref = ScaledObjectRef(name=f"web-{one}", namespace=f"ns{one % NAMESPACES}", scalerMetadata=metadata)
    return GetMetricsRequest(scaledObjectRef=ref, metricName="ext")


async def run(listen: str, series: int, rate: float | None, seconds: float) -> tuple[list[float], float]:
    """Latencies (seconds) and calls a second; `rate` None asks as fast as it can."""
    latencies: list[float] = []
    async with grpc.aio.insecure_channel(listen) as channel:
        call = channel.unary_unary(
            f"/{SERVICE}/GetMetrics",
            request_serializer=GetMetricsRequest.SerializeToString,
            response_deserializer=GetMetricsResponse.FromString,
        )
        begin = time.perf_counter()

        async def work(number: int) -> None:
            i = number
            while (due := begin + i / rate if rate else time.perf_counter()) < begin + seconds:
                await asyncio.sleep(due - time.perf_counter())
                await call(request_of(i, series))
                latencies.append(time.perf_counter() - due)
                i += AT_ONCE

        await asyncio.gather(*(work(number) for number in range(AT_ONCE)))
        return latencies, len(latencies) / (time.perf_counter() - begin)


def p(latencies: list[float], percent: int) -> float:
    """A percentile in milliseconds."""
    return statistics.quantiles(latencies, n=100)[percent - 1] * 1000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=500)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--series", type=int, default=2000)
    parser.add_argument("--nothing", metavar="HOST:PORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.nothing:
        asyncio.run(nothing(options.nothing))
        return
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, set(cores[1:]) or {cores[0]})
    fastest = {}
    with tempfile.TemporaryDirectory() as name, serving(prometheus(options.series)) as url:
        folder, listen = Path(name), f"127.0.0.1:{free_port()}"
        servers = {"scaler": config(url, folder, listen), "nothing": ["benchmarks.keda", "--nothing", listen]}
        for title, module in servers.items():
            with served(module, listen, folder, cores[0]):
                asyncio.run(run(listen, options.series, None, 2))  # warm
                paced, at = asyncio.run(run(listen, options.series, options.rate, options.seconds))
                full, fastest[title] = asyncio.run(run(listen, options.series, None, options.seconds))
            print(
                f"{title:8} at {at:.0f}/s: p50 {p(paced, 50):.2f} ms, p99 {p(paced, 99):.2f} ms; "
                f"fastest {fastest[title]:.0f}/s, p99 {p(full, 99):.2f} ms"
            )
    print(f"the scaler answers {fastest['scaler'] / fastest['nothing']:.2f} of what gRPC alone does")


if __name__ == "__main__":
    main()
