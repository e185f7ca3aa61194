"""Cost of the exposition page, ours beside prometheus_client's, in one run.

python benchmarks/exposition.py [SERIES]
"""

from __future__ import annotations

import random
import sys
import time
import zlib
from collections.abc import Callable, Iterable

from prometheus_client.core import CollectorRegistry, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest

from cloudpulse.exposition import encode
from cloudpulse.families import Family, label_block
from cloudpulse.metricspage import GZIP_LEVEL
from cloudpulse.negotiation import OPENMETRICS

SAMPLES_PER_SERIES = 9
ROUNDS = 5


class _Prepared:
    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return [self._family]


def _microseconds(work: Callable[[], object], samples: int) -> float:
    """Best of `ROUNDS`, in µs a sample."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best / samples * 1e6


def main(series: int) -> None:
    """Print the table."""
    labels = [
        {"forecast": "node_cpu", "horizon": horizon, "level": level, "instance": f"host{i}:9100", "job": "node"}
        for i in range(series)
        for horizon in ("15m", "1h", "24h")
        for level in ("0.1", "0.5", "0.9")
    ]
    values = [random.random() * 1000 for _ in labels]
    ordinary = GaugeMetricFamily("cloudpulse_forecast_value", "Quantile of the value ahead.", labels=list(labels[0]))
    for own, value in zip(labels, values, strict=True):
        ordinary.add_metric(list(own.values()), value)
    blocks = [label_block(own) for own in labels]
    registry = CollectorRegistry()
    registry.register(_Prepared(ordinary))

    own = Family(ordinary.name, ordinary.documentation, blocks, values)

    def columns() -> bytes:
        return encode([Family(ordinary.name, ordinary.documentation, blocks, values)])

    assert columns() == encode([ordinary])
    print(
        f"{len(values)} samples ({series} series x {SAMPLES_PER_SERIES}), {len(columns()) / 1e6:.1f} MB, µs a sample:"
    )
    page = columns()
    for title, work in (
        ("prometheus_client.generate_latest", lambda: generate_latest(registry)),
        ("cloudpulse encode, ordinary Metric", lambda: encode([ordinary])),
        ("cloudpulse encode, Family", columns),
        ("the same in OpenMetrics", lambda: encode([own], OPENMETRICS)),
        ("gzip of the page", lambda: zlib.compress(page, GZIP_LEVEL, 31)),
    ):
        print(f"  {title:36} {_microseconds(work, len(values)):6.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
