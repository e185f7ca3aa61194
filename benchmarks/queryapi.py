"""What the query API needs for what dashboards ask; each limit beside its figure, exit code 1 where one is missed.

OPENBLAS_NUM_THREADS=1 python -m benchmarks.queryapi
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
from flask import Flask

from benchmarks import machine
from forecaster.curves import Curves
from forecaster.queryapi import views
from forecaster.queryapi.catalogue import Catalogue
from forecaster.store import ForecastStore
from forecaster.testing import issue

NOW = 1_700_000_000.0
STEPS, STEP = 288, 300.0
CURVE = "cloudpulse_forecast_curve"
ROUNDS = 9


def asking(series: int) -> Callable[..., bytes]:
    """What asks the API of a forecaster that has so many series, as a client without gzip does unless told."""
    store = ForecastStore(lambda: NOW)
    labels = [{"instance": f"host-{i:05d}:9100", "job": "node", "zone": str(i % 3)} for i in range(series)]
    values = np.sort(np.random.default_rng(1).normal(50, 10, (series, STEPS, 3)), axis=2)
    store.put(issue("node_cpu", labels, values, start=NOW, step=STEP))
    app = Flask("benchmark")
    app.register_blueprint(views.blueprint(Catalogue(store, Curves(store), lambda: NOW), lambda: NOW))
    client = app.test_client()

    def ask(path: str, packed: bool = False, **form: object) -> bytes:
        headers = {"Accept-Encoding": "gzip"} if packed else {}
        answer = client.post(f"/api/v1/{path}", data=form, headers=headers)
        assert answer.status_code == 200, answer.data
        return answer.data

    return ask


def main() -> int:
    """Print the table."""
    print(machine.facts())
    ahead = {"start": NOW, "end": NOW + (STEPS - 1) * STEP, "step": STEP}
    many, most = asking(1_000), asking(10_000)
    one = 'instance="host-07777:9100"'
    missed = 0
    for title, limit, work in (
        (
            "1,000 curves x 288 points, JSON",
            300.0,
            lambda: many("query_range", query=f'{CURVE}{{level="0.5"}}', **ahead),
        ),
        ("the same, packed", None, lambda: many("query_range", True, query=f'{CURVE}{{level="0.5"}}', **ahead)),
        ("the same x 3 levels", None, lambda: many("query_range", query=CURVE, **ahead)),
        (
            "sum by (zone) of 1,000 curves",
            None,
            lambda: many("query_range", query=f'sum by (zone) ({CURVE}{{level="0.5"}})', **ahead),
        ),
        (
            "max_over_time[1h] of 1,000 curves",
            None,
            lambda: many("query_range", query=f'max_over_time({CURVE}{{level="0.5"}}[1h])', **ahead),
        ),
        ("one of 10,000 curves", 5.0, lambda: most("query", query=f'{CURVE}{{level="0.5",{one}}}', time=NOW + 3600)),
        (
            "one of 10,000 curves x 288 points",
            None,
            lambda: most("query_range", query=f'{CURVE}{{level="0.5",{one}}}', **ahead),
        ),
        ("one of 10,000 exported values", None, lambda: most("query", query=f"cloudpulse_forecast_value{{{one}}}")),
        ("values of a label of 10,000 series", None, lambda: most("label/instance/values")),
    ):
        size = len(work())
        took = sorted(_milliseconds(work) for _ in range(ROUNDS))
        middle = took[ROUNDS // 2]
        missed += limit is not None and middle > limit
        bar = "" if limit is None else f"  limit {limit:g} ms: {'met' if middle <= limit else 'MISSED'}"
        print(f"  {title:36} {middle:8.1f} ms (worst {took[-1]:.1f}), {size / 1e6:.2f} MB{bar}")
    print(machine.load())
    return 1 if missed else 0


def _milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


if __name__ == "__main__":
    sys.exit(main())
