"""How long remote read takes: on the server's side, over HTTP, and seen from a real Prometheus.

    python -m benchmarks.curves [--rounds 9]

1,000 series of 288 points and 3 levels, all at once; and one of 10,000 such series. As a peer, the same answer built
and serialised by the package protobuf. The server is a process of its own, as the forecaster is.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import cramjam
import numpy as np
import requests
from flask import Flask

from benchmarks.machine import facts
from cloudpulse.local import past
from cloudpulse.matcher import Matcher
from cloudpulse.serving import Server
from forecaster.curves import NAME, Block, Curves
from forecaster.remoteread import advice, chunks, remote_pb2, samples
from forecaster.remoteread import app as remoteread
from forecaster.store import ForecastStore
from forecaster.testing import issue

START = 2_000_000_000.0
DAY = 86400
LIMIT_ALL_MS, LIMIT_ONE_MS = 300, 5
FORMS = {"samples": samples.answer, "chunks": chunks.answer}
ALL = {"__name__": NAME, "forecast": "all"}
ONE = {"__name__": NAME, "forecast": "many", "app": "app-4711"}


def store(now: float) -> ForecastStore:
    """Daily waves with a band that has the digits of a real one; `now` is when they were issued."""
    made = ForecastStore(lambda: now)
    random = np.random.default_rng(0)
    for name, count in (("all", 1_000), ("many", 10_000)):
        labels = tuple({"app": f"app-{i}", "instance": f"host-{i % 99}:9100", "job": "node"} for i in range(count))
        wave = 100 + 40 * np.sin(2 * np.pi * np.arange(288) / 288)
        values = np.sort(wave[None, :, None] + random.normal(0, 10, (count, 288, 3)), axis=2)
        made.put(issue(name, labels, values, start=now, step=300))
    return made


def serve(now: float, told: Connection) -> None:
    """The server's process, until it is killed."""
    app = Flask("read")
    app.register_blueprint(remoteread.blueprint(Curves(store(now)), lambda *_: None))
    server = Server(app, "127.0.0.1:0")
    told.send(server.url)
    server.run(threading.Event())


def body(equal: dict[str, str], form: str) -> bytes:
    kind = remote_pb2.ReadRequest.STREAMED_XOR_CHUNKS if form == "chunks" else remote_pb2.ReadRequest.SAMPLES
    request = remote_pb2.ReadRequest(accepted_response_types=[kind])
    query = request.queries.add(start_timestamp_ms=0, end_timestamp_ms=2**62)
    for name, value in equal.items():
        query.matchers.add(type=remote_pb2.LabelMatcher.EQ, name=name, value=value)
    return bytes(cramjam.snappy.compress_raw(request.SerializeToString()))


def by_protobuf(blocks: Sequence[Block]) -> bytes:
    """The peer: every sample an object."""
    response = remote_pb2.ReadResponse()
    result = response.results.add()
    for block in blocks:
        times = np.rint(block.times * 1000).astype(np.int64).tolist()
        for labels, row in zip(block.labels, block.values.tolist(), strict=True):
            series = result.timeseries.add()
            for name, value in sorted(labels.items()):
                series.labels.add(name=name, value=value)
            for moment, value in zip(times, row, strict=True):
                series.samples.add(value=value, timestamp=moment)
    return bytes(cramjam.snappy.compress_raw(response.SerializeToString()))


def timed(work: Callable[[], object], rounds: int) -> list[float]:
    """Milliseconds, the first round aside: what is kept between reads is made there."""
    work()
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        taken.append((time.perf_counter() - began) * 1000)
    return sorted(taken)


def show(what: str, taken: Sequence[float], limit: float | None = None, more: str = "") -> None:
    text = f"{what:<46} p50 {statistics.median(taken):7.2f} ms, max {taken[-1]:7.2f} ms"
    print(text + (f" (limit {limit} ms)" if limit else "") + (f", {more}" if more else ""))


def here(rounds: int) -> None:
    """On the server's side, without HTTP."""
    curves = Curves(store(START))
    for what, equal, limit in (("all", ALL, LIMIT_ALL_MS), ("one of 10,000", ONE, LIMIT_ONE_MS)):
        matchers = [Matcher(name, "=", value) for name, value in equal.items()]

        def select(matchers: list[Matcher] = matchers) -> list[Block]:
            return curves.select(matchers, 0, 1e16)

        for form, answer in FORMS.items():
            size = len(b"".join(answer([select()])))
            taken = timed(lambda answer=answer, select=select: b"".join(answer([select()])), rounds)
            show(f"{what}, {form}, server side", taken, limit, f"{size:,} bytes")
        show(f"{what}, samples by protobuf (peer)", timed(lambda select=select: by_protobuf(select()), min(3, rounds)))


def over_http(url: str, rounds: int) -> None:
    session = requests.Session()
    session.trust_env = False
    for what, equal, limit, times in (("all", ALL, LIMIT_ALL_MS, 1), ("one of 10,000", ONE, LIMIT_ONE_MS, 20)):
        for form in FORMS:
            asked = body(equal, form)

            def read(asked: bytes = asked) -> None:
                answer = session.post(f"{url}/api/v1/read", data=asked, headers={"Accept-Encoding": "identity"})
                answer.raise_for_status()

            show(f"{what}, {form}, over HTTP", timed(read, rounds * times), limit)


def through_prometheus(url: str, now: float, rounds: int) -> None:
    """What it costs a query that has nothing to do with it, and what the future itself takes."""
    text = f"# TYPE local gauge\nlocal 1 {now:.0f}\n# EOF\n"
    reads = advice.LINES.replace("http://localhost:9811", url)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with (
            past.prometheus([text], folder / "without") as without,
            past.prometheus([text], folder / "with", reads) as (with_read),
        ):
            session = requests.Session()
            session.trust_env = False

            def ask(base: str, path: str, **parameters: str) -> None:
                answer = session.get(f"{base}/api/v1/{path}", params=parameters).json()
                assert answer["data"]["result"], answer
                assert "warnings" not in answer, answer

            for what, base in (("without remote_read", without), ("with remote_read", with_read)):
                taken = timed(lambda base=base: ask(base, "query", query="local", time=str(now)), rounds * 20)
                show(f"Prometheus, unrelated query, {what}", taken)
            one = f'{NAME}{{forecast="many",app="app-4711",level="0.5"}}'
            span = {"start": str(now), "end": str(now + DAY), "step": "300"}
            show(
                "Prometheus, one curve, a day",
                timed(lambda: ask(with_read, "query_range", query=one, **span), rounds * 5),
            )
            whole = f'sum by (level) ({NAME}{{forecast="all"}})'
            show(
                "Prometheus, sum of 3,000 curves, a day",
                timed(lambda: ask(with_read, "query_range", query=whole, **span), rounds),
            )


def main() -> None:
    """Run once and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    print(facts())
    here(rounds)
    now = time.time() // 300 * 300
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(now, theirs), daemon=True)
    server.start()
    try:
        url = ours.recv()
        over_http(url, rounds)
        through_prometheus(url, now, rounds)
    finally:
        server.kill()
        server.join()


if __name__ == "__main__":
    main()
