"""What reading a long history costs us and Prometheus, beside prometheus-api-client's own parsed path.

    OPENBLAS_NUM_THREADS=1 python benchmarks/reading.py [--series 1000] [--days 14] [--skip-peer]

A real Prometheus is given `--series` series of `--days` at 5 minutes; every reader is a process of its own. First the
full read, then a round's, then a restart's; and at the end another client asks one light query again and again, while
nobody reads, while we do, and while one query reads all at once.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import numpy as np
import requests
from prometheus_api_client import MetricRangeDataFrame, PrometheusConnect

from cloudpulse.config import PrometheusSettings
from cloudpulse.durations import Duration
from cloudpulse.local import past
from cloudpulse.promql import Prometheus
from forecaster.config import Target
from forecaster.history import History

STEP = 300
QUERY = "load"
IMPORT_SECONDS = 3.0
LIGHT = 'sum by (zone) (load{rack="7"})'


def lines(series: int, columns: int, end: int) -> Iterator[str]:
    """OpenMetrics text: a daily wave with noise, all digits of a float."""
    rng = random.Random(1)
    yield "# TYPE load gauge\n"
    for number in range(series):
        labels = f'instance="host-{number:05d}:9100",job="node",rack="{number // 20}",zone="{number % 3}"'
        level = rng.uniform(10, 100)
        for column in range(columns):
            value = level * (1 + 0.3 * math.sin(2 * math.pi * column * STEP / 86400)) + rng.random()
            yield f"load{{{labels}}} {value!r} {end - (columns - 1 - column) * STEP}\n"
    yield "# EOF\n"


def cloudpulse(url: str, columns: int, end: int, folder: str) -> dict[str, float]:
    """The full read into a Frame, a round's reading, and a restart's."""
    source = Prometheus(PrometheusSettings(url=url))
    horizons = (Duration(3600),)
    target = Target(name="x", query=QUERY, step=Duration(STEP), history=Duration(columns * STEP), horizons=horizons)

    def read(history: History, now: float) -> tuple[float, float]:
        began, cpu = time.perf_counter(), time.process_time()
        history.update(source, now)
        return time.perf_counter() - began, time.process_time() - cpu

    history = History(target, Path(folder) / "history")
    full, cpu = read(history, end - 2 * STEP)
    history.save()
    once, _ = read(history, end - STEP)
    began = time.perf_counter()
    again = History(target, Path(folder) / "history")
    again.load()
    restart, _ = read(again, end)
    loaded = time.perf_counter() - began - restart
    assert again.frame is not None
    assert history.frame is not None
    np.testing.assert_allclose(again.frame.values[:, :-2], history.frame.values[:, 1:-1])
    size = sum(file.stat().st_size for file in (Path(folder) / "history").iterdir())
    return {"full": full, "cpu": cpu, "round": once, "load": loaded, "restart": restart, "disk_mb": size / 2**20}


def peer(url: str, columns: int, end: int, _: str) -> dict[str, float]:
    """The same by prometheus-api-client as its README shows: one query, and a data frame of the answer."""
    began = time.perf_counter()
    start, stop = (datetime.fromtimestamp(moment, UTC) for moment in (end - (columns - 1) * STEP, end))
    data = PrometheusConnect(url=url).custom_query_range(QUERY, start, stop, str(STEP), timeout=300)
    table = MetricRangeDataFrame(data)
    assert len(table) > 0
    return {"full": time.perf_counter() - began}


def again_and_again(url: str, columns: int, end: int, _: str) -> NoReturn:
    """Full reads, each as the first of a process that knows nothing of the query, until killed."""
    while True:
        source = Prometheus(PrometheusSettings(url=url))
        source.range(QUERY, end - (columns - 1) * STEP, end, STEP)
        source.close()


def all_at_once(url: str, columns: int, end: int, _: str) -> NoReturn:
    """The same in one query each, as fast as it is answered, until killed."""
    session = requests.Session()
    session.headers["Accept-Encoding"] = "identity"
    bounds = {"start": end - (columns - 1) * STEP, "end": end, "step": STEP}
    while True:
        session.post(f"{url}/api/v1/query_range", data={"query": QUERY, **bounds}, timeout=300).raise_for_status()


def light(url: str, end: int, seconds: float) -> list[float]:
    """One light query every 10 ms: how long each took, in ms."""
    session = requests.Session()
    took = []
    until = time.perf_counter() + seconds
    while (began := time.perf_counter()) < until:
        session.get(f"{url}/api/v1/query", params={"query": LIGHT, "time": end}, timeout=60).raise_for_status()
        took.append((time.perf_counter() - began) * 1000)
        time.sleep(max(0.0, 0.01 - (time.perf_counter() - began)))
    return took


PARTS = {one.__name__: one for one in (cloudpulse, peer, again_and_again, all_at_once)}


def start(part: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--part", part, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def run(part: str, *arguments: object) -> dict[str, float]:
    """What a part measured, in a process of its own."""
    output, _ = start(part, *arguments).communicate()
    measured: dict[str, float] = json.loads(output)
    return measured


@contextlib.contextmanager
def beside(part: str, *arguments: object) -> Iterator[None]:
    """While a part runs."""
    process = start(part, *arguments)
    time.sleep(IMPORT_SECONDS)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--days", type=float, default=14)
    parser.add_argument("--seconds", type=float, default=8, help="of each load")
    parser.add_argument("--rounds", type=int, default=3, help="of all loads")
    parser.add_argument("--skip-peer", action="store_true")
    parser.add_argument("--part", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        name, url, columns, end, last = options.part
        measured = PARTS[name](url, int(columns), int(end), last)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({**measured, "rss_mb": peak}))
        return
    columns = int(options.days * 86400 // STEP)
    end = int(time.time() // STEP * STEP)
    with (
        tempfile.TemporaryDirectory() as folder,
        past.prometheus(lines(options.series, columns, end), Path(folder)) as url,
    ):
        print(f"{options.series} series x {columns} points")
        ours = run("cloudpulse", url, columns, end, folder)
        print(f"cloudpulse: full read {ours['full']:.1f} s (CPU {ours['cpu']:.1f} s), peak RSS {ours['rss_mb']:.0f} MB")
        print(f"cloudpulse: a round's reading {ours['round'] * 1000:.0f} ms")
        print(
            f"cloudpulse: after a restart {ours['load']:.2f} s from disk ({ours['disk_mb']:.0f} MB) "
            f"and {ours['restart'] * 1000:.0f} ms from Prometheus"
        )
        if not options.skip_peer:
            theirs = run("peer", url, columns, end, folder)
            print(f"prometheus-api-client: full read {theirs['full']:.1f} s, peak RSS {theirs['rss_mb']:.0f} MB")
            print(
                f"ratio: {theirs['full'] / ours['full']:.1f} in time, {theirs['rss_mb'] / ours['rss_mb']:.1f} in memory"
            )
        loads: dict[str, str | None] = {
            "nobody reads": None,
            "cloudpulse reads": "again_and_again",
            "one query reads all": "all_at_once",
        }
        took: dict[str, list[float]] = {title: [] for title in loads}
        for _ in range(options.rounds):  # by turns, since a machine is never as quiet as it was
            for title, part in loads.items():
                with beside(part, url, columns, end, folder) if part else contextlib.nullcontext():
                    took[title] += light(url, end, options.seconds)
        print("a light query meanwhile, ms:")
        for title, one in took.items():
            p50, p99, most = np.percentile(one, [50, 99, 100])
            print(f"  {title:<20} p50 {p50:6.1f}  p99 {p99:6.1f}  max {most:6.1f}  of {len(one)}")


if __name__ == "__main__":
    main()
