"""Reading a long range in pieces gives what one query gives: against a real Prometheus."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests

from cloudpulse.config import PrometheusSettings
from cloudpulse.durations import Duration
from cloudpulse.errors import TooManySamples
from cloudpulse.local import past
from cloudpulse.promql import Prometheus
from forecaster.config import Target
from forecaster.history import History

pytestmark = pytest.mark.e2e

STEP = 60
COLUMNS = 2 * 1440
END = int(time.time() // 3600 * 3600)
START = END - (COLUMNS - 1) * STEP


def lines() -> Iterator[str]:
    """Five series: one begins late, one has gaps and stale ends, one has NaN and infinities, and odd labels."""
    yield "# TYPE load gauge\n"
    for name in ("whole", "late", "gaps", "odd", 'a\\"b\\\\c'):
        for column in range(COLUMNS):
            value: float | str = 100 * math.sin(column / 50) + column / 7
            if name == "late" and column < 1000:
                continue
            if name == "gaps" and column // 100 % 3 == 1:
                continue
            if name == "odd" and column % 500 < 3:
                value = ("NaN", "+Inf", "-Inf")[column % 500]
            yield f'load{{app="{name}"}} {value} {START + column * STEP}\n'
    yield "# EOF\n"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with past.prometheus(lines(), tmp_path_factory.mktemp("past")) as address:
        yield address


def answered(url: str, query: str) -> dict[str, tuple[list[float], list[float]]]:
    """App -> times and values, of one query."""
    form = {"query": query, "start": START, "end": END, "step": STEP}
    result = requests.post(f"{url}/api/v1/query_range", data=form, timeout=30).json()["data"]["result"]
    return {
        one["metric"]["app"]: ([time for time, _ in one["values"]], [float(value) for _, value in one["values"]])
        for one in result
    }


QUERIES = ["load", "avg_over_time(load[7m])", "sum by (app) (load) > 0", "max_over_time(load[1h:5m])"]


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("max_samples", [200, 1000, 1_000_000])
def test_pieces_put_together_are_what_one_query_answers(url: str, query: str, max_samples: int) -> None:
    source = Prometheus(PrometheusSettings(url=url, max_samples_per_query=max_samples))
    read = {series.labels["app"]: series for series in source.range(query, START, END, STEP)}
    expected = answered(url, query)
    assert read.keys() == expected.keys()
    for app, (times, values) in expected.items():
        np.testing.assert_array_equal(read[app].times, times)
        np.testing.assert_array_equal(read[app].values, values)
    source.close()


def test_a_history_read_in_pieces_and_after_a_restart_is_what_one_query_answers(url: str, tmp_path: Path) -> None:
    source = Prometheus(PrometheusSettings(url=url, max_samples_per_query=300))
    history = Duration(COLUMNS * STEP)
    target = Target(name="x", query="load", step=Duration(STEP), history=history, horizons=(Duration(STEP),))
    before = History(target, tmp_path)
    before.update(source, END - 900.0)
    before.save()
    after = History(target, tmp_path)
    after.load()
    frame = after.update(source, END)
    expected = answered(url, "load")
    # The newest piece is read first: which series it holds, and so their order, depends on the hour of the day.
    assert sorted(labels["app"] for labels in frame.labels) == sorted(expected)
    for labels, row in zip(frame.labels, frame.values, strict=True):
        times, values = (np.array(part) for part in expected[labels["app"]])
        whole = np.full(COLUMNS, np.nan)
        whole[np.rint((times - START) / STEP).astype(int)] = np.where(np.isfinite(values), values, np.nan)
        np.testing.assert_allclose(row, whole, rtol=1e-6)
    source.close()


def test_prometheus_tells_what_lies_under_an_aggregation(url: str) -> None:
    """One series in the answer, five loaded."""
    source = Prometheus(PrometheusSettings(url=url, max_samples_per_query=4))
    with pytest.raises(TooManySamples, match="samples for a single point"):
        source.range("sum(load)", START, END, STEP)
    source.close()
