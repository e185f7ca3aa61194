"""The same samples twice: behind our query API, and as the past of a real Prometheus."""

from __future__ import annotations

import itertools
import json
import math
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient

from cloudpulse.families import label_block
from cloudpulse.local import past
from cloudpulse.matcher import Matcher
from cloudpulse.promql import Labels
from cloudpulse.testing import FakeClock
from forecaster.curves import Block, Curves, Hold
from forecaster.queryapi import views
from forecaster.queryapi.catalogue import Catalogue
from forecaster.store import ForecastStore
from forecaster.testing import issue

START = 1_700_000_000.0
"""The first sample of everything."""
COUNT, STEP = 40, 30.0


def invented() -> list[Block]:
    """Series of all kinds of numbers, with gaps, in blocks of several grids."""
    random = np.random.default_rng(7)
    times = START + STEP * np.arange(COUNT)

    def block(name: str, labels: Sequence[dict[str, str]], values: Any, when: Any = times) -> Block:
        return Block([{"__name__": name, **one} for one in labels], when, np.asarray(values, np.float64))

    grid = [{"job": job, "instance": instance} for job in ("api", "web") for instance in ("0", "1", "2")]
    # Eighths add up exactly in any order: comparisons aren't decided by the last bit.
    load = np.round(random.normal(10, 5, (6, COUNT)) * 8) / 8
    load[1, 5:12] = np.nan
    load[2, ::3] = np.nan
    load[4, :30] = np.nan
    odd = np.array([[np.inf, 1, -np.inf, 0, -0.0, 1e-7, 1e21, 123456789.125, -3.5, 0.1] * 4])
    counter = np.cumsum(random.integers(0, 9, (6, COUNT)), axis=1).astype(float)
    counter[3, 20:] -= counter[3, 20]
    capacity = np.full((2, COUNT), [[20.0], [15.0]])
    half = np.full((2, COUNT), np.nan)
    half[0, :20], half[1, 20:] = 1.0, 2.0
    return [
        block("load", grid, load),
        block("capacity", [{"job": "api", "region": "north"}, {"job": "web", "region": "south"}], capacity),
        block("odd", [{"kind": "odd"}], odd),
        block("requests_total", grid, counter),
        block("turns", [{"job": "api", "turn": "a"}, {"job": "api", "turn": "b"}], half),
        block("slow", [{"job": "api", "path": 'a"b\\c/é'}], [[1.0, 2.0, 4.0, 3.0]], START + 290.0 * np.arange(4)),
        block("flat", [{"job": "web"}], np.full((1, COUNT), 7.25)),
        block("clock", [{"job": "web"}], [np.linspace(-1e8, 4e9, COUNT)]),
    ]


class Fixed:
    """A catalogue of given blocks, and of a real store's series beside them."""

    def __init__(self, blocks: Sequence[Block], catalogue: Catalogue) -> None:
        self._blocks = blocks
        self._catalogue = catalogue

    def select(self, matchers: Sequence[Matcher], start: float, end: float, hold: Hold) -> list[Block]:
        found = self._catalogue.select(matchers, start, end, hold)
        for block in self._blocks:
            rows = [i for i, one in enumerate(block.labels) if all(matcher.matches(one) for matcher in matchers)]
            columns = (block.times >= start) & (block.times <= end)
            if rows and columns.any():
                values = block.values[rows][:, columns]
                found.append(Block([block.labels[i] for i in rows], block.times[columns], values))
        return found

    def listed(self, matchers: Sequence[Matcher]) -> list[Labels]:
        blocks = self.select(matchers, -1e15, 1e15, lambda *_: None)
        return [labels for block in blocks for labels in block.labels]


@dataclass(frozen=True)
class Answer:
    """What an API said: status, and the decoded body."""

    status: int
    body: dict[str, Any]


Ask = Callable[..., Answer]


def store_of_the_past() -> tuple[ForecastStore, FakeClock]:
    """A forecast whose future is Prometheus' past."""
    clock = FakeClock(START + 60)
    store = ForecastStore(clock)
    random = np.random.default_rng(3)
    values = np.round(np.sort(random.normal(50, 10, (4, 40, 3)), axis=2) * 8) / 8
    values[2, 10:20] = np.nan
    labels = [{"instance": f"host{i}", "zone": "ab"[i % 2]} for i in range(4)]
    store.put(issue("web", labels, values, start=START, step=30.0))
    return store, clock


def lines(blocks: Sequence[Block]) -> Iterator[str]:
    """OpenMetrics, a family after the other."""
    by_name: dict[str, list[str]] = {}
    for block in blocks:
        for labels, values in zip(block.labels, block.values, strict=True):
            own = {name: value for name, value in labels.items() if name != "__name__"}
            head = f"{labels['__name__']}{label_block(own)}"
            family = by_name.setdefault(labels["__name__"], [])
            for time, value in zip(block.times.tolist(), values.tolist(), strict=True):
                if not math.isnan(value):
                    text = {math.inf: "+Inf", -math.inf: "-Inf"}.get(value, repr(value))
                    family.append(f"{head} {text} {time:.3f}\n")
    for name, samples in by_name.items():
        yield f"# TYPE {name} gauge\n" if not name.endswith("_total") else f"# TYPE {name} unknown\n"
        yield from samples
    yield "# EOF\n"


@pytest.fixture(scope="session")
def catalogue() -> Any:
    store, clock = store_of_the_past()
    return Fixed(invented(), Catalogue(store, Curves(store), clock))


@pytest.fixture(scope="session")
def client(catalogue: Any) -> FlaskClient:
    app = Flask("query")
    app.register_blueprint(views.blueprint(catalogue, lambda: START + 600))
    return app.test_client()


@pytest.fixture(scope="session")
def ours(client: FlaskClient) -> Ask:
    def ask(path: str, **form: Any) -> Answer:
        answer = client.post(f"/api/v1/{path}", data=form)
        return Answer(answer.status_code, json.loads(answer.data))

    return ask


@pytest.fixture(scope="session")
def theirs(catalogue: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """A real Prometheus that has the same samples."""
    text = lines(catalogue.select([], -1e15, 1e15, lambda *_: None))
    with past.prometheus(text, tmp_path_factory.mktemp("past")) as url:

        def ask(path: str, **form: Any) -> Answer:
            request = urllib.request.Request(f"{url}/api/v1/{path}", urllib.parse.urlencode(form, True).encode())
            try:
                with urllib.request.urlopen(request, timeout=20) as answer:
                    return Answer(answer.status, json.load(answer))
            except urllib.error.HTTPError as error:
                with error:
                    return Answer(error.code, json.load(error))

        yield ask


def close(one: str, other: str) -> bool:
    a, b = float(one), float(other)
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return a == b or abs(a - b) <= 1e-9 * max(abs(a), abs(b)) + 1e-12


def compare(ours: Answer, theirs: Answer, ordered: bool = False) -> str:
    """What differs between two answers to the same question; empty for nothing."""
    if theirs.body["status"] == "error":
        expected = (theirs.status, theirs.body["errorType"])
        return "" if (ours.status, ours.body.get("errorType")) == expected else f"{ours} for {theirs}"
    if ours.body["status"] != "success":
        return f"{ours} for {theirs}"
    a, b = ours.body["data"], theirs.body["data"]
    if a["resultType"] != b["resultType"]:
        return f"{a['resultType']} for {b['resultType']}"
    if a["resultType"] in ("scalar", "string"):
        a, b = [{"metric": {}, "value": a["result"]}], [{"metric": {}, "value": b["result"]}]
    else:
        a, b = a["result"], b["result"]
    if not ordered:
        a, b = ([*sorted(one, key=lambda item: sorted(item["metric"].items()))] for one in (a, b))
    if [item["metric"] for item in a] != [item["metric"] for item in b]:
        return f"series {[item['metric'] for item in a]} for {[item['metric'] for item in b]}"
    for mine, yours in zip(a, b, strict=True):
        left = mine.get("values") or [mine["value"]]
        right = yours.get("values") or [yours["value"]]
        for x, y in itertools.zip_longest(left, right):
            if x is None or y is None or x[0] != y[0] or not (x[1] == y[1] or close(x[1], y[1])):
                return f"{mine['metric']}: {x} for {y}"
    return ""
