"""Answers that misled or failed a real HPA (data/hpa-response-cases.jsonl) are never ours, whatever Prometheus has."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes.utils.quantity import parse_quantity

from cloudpulse.promql import Series
from cloudpulse.testing import FakeClock, FakeSource
from scaler.config import ScalerSettings
from scaler.question import PART

PATHS = {
    "external": "/apis/external.metrics.k8s.io/v1beta1/namespaces/demo/m",
    "object": "/apis/custom.metrics.k8s.io/v1beta2/namespaces/demo/services/web/m",
    "pods": "/apis/custom.metrics.k8s.io/v1beta2/namespaces/demo/pods/%2A/m",
}
SETTINGS = """
metrics:
  - {name: m, api: external, query: sum(m)}
  - {name: m, api: custom, query: sum(m), resource: {namespace: namespace, service: service, pod: pod}}
  - {name: ahead, api: external, forecast: f, reactive: sum(m), horizon: 5m}
  - name: ahead
    api: custom
    forecast: f
    reactive: sum(m)
    horizon: 5m
    resource: {namespace: namespace, service: service, pod: pod}
auth: {tokens: [{name: hpa, token: sesame-0123456789}]}
"""


def _number(value: Any) -> float | None:
    """The number that a captured answer meant; None where it meant none."""
    if value is None:
        return None
    try:
        return float(parse_quantity(value)) if not str(value).endswith("Inf") else math.inf
    except (ValueError, ArithmeticError):
        return math.nan


def _cases() -> Iterator[Any]:
    lines = (Path(__file__).parent / "data" / "hpa-response-cases.jsonl").read_text().splitlines()
    for case in map(json.loads, lines):
        response = case["response"]
        body = response.get("body")
        if response.get("status") != 200 or not isinstance(body, dict) or "Value" in json.dumps(body.get("items")):
            continue  # statuses and misspelt keys are the stub's alone; there is no series that they stand for
        values = [_number(item.get("value")) for item in body.get("items") or []]
        yield pytest.param(case, values, id=case["case"])


@pytest.fixture(scope="module")
def stand(
    serve: Callable[..., contextlib.AbstractContextManager[Any]],
    settings_of: Callable[[str], ScalerSettings],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Any, Callable[[list[Series]], None]]]:
    clock, series = FakeClock(), []
    source = FakeSource(lambda query: series, clock)
    with serve(settings_of(SETTINGS), source, clock, tmp_path_factory.mktemp("adapter")) as adapter:

        def hold(anew: list[Series]) -> None:
            series[:] = anew
            for watch in adapter.service._watches:
                watch.evaluate()

        yield adapter, hold


@pytest.mark.parametrize(("case", "values"), [*_cases()])
def test_prometheus_with_those_values_gives_the_truth_or_a_status(
    stand: tuple[Any, Callable[[list[Series]], None]],
    sample: Callable[..., Series],
    case: dict[str, Any],
    values: list[float | None],
) -> None:
    adapter, hold = stand
    kind = case["metric_type"]
    names = {"object": {"service": "web"}, "external": {}}
    hold(
        [
            sample(value, 1_700_000_000, namespace="demo", n=str(i), **names.get(kind, {"pod": f"web-{i}"}))
            for i, value in enumerate(values)
            if value is not None  # a null or missing value is a series that is not there
        ]
    )
    known = [value for value in values if value is not None]
    trusted = (
        bool(known)
        and all(math.isfinite(value) and abs(value) <= 2**53 for value in known)
        and (kind != "external" or min(known) >= 0)
        and (kind != "object" or len(known) == 1)
    )
    reply = adapter.get(PATHS[kind])
    if not trusted:
        assert reply.status in (400, 404, 503)
        assert reply.json["kind"] == "Status"
        assert len(reply.json["message"]) > 20
        assert "Retry-After" not in reply.headers
        return
    assert reply.status == 200
    served = [float(parse_quantity(item["value"])) for item in reply.json["items"]]
    assert sum(served) == pytest.approx(sum(known), abs=0.001 * len(known))
    assert [item["timestamp"] for item in reply.json["items"]] == ["2023-11-14T22:13:20Z"] * len(known)


@pytest.mark.parametrize(("case", "values"), [*_cases()])
def test_as_forecasts_they_never_serve_less_than_what_is_measured(
    stand: tuple[Any, Callable[[list[Series]], None]],
    sample: Callable[..., Series],
    case: dict[str, Any],
    values: list[float | None],
) -> None:
    adapter, hold = stand
    kind = case["metric_type"]
    names = {"object": {"service": "web"}, "external": {}}
    series = []
    for i, value in enumerate(values[:1] if kind == "object" else values):
        labels = {"namespace": "demo", "n": str(i), **names.get(kind, {"pod": f"web-{i}"})}
        own = {"forecast": "f", **labels}
        series += [sample(3, 1_700_000_000, **labels), sample(1_700_000_000, 1_700_000_000, **{PART: "made"}, **own)]
        if value is not None:
            series.append(sample(value, 1_700_000_000, **{PART: "forecast"}, horizon="5m", level="0.9", **own))
    hold(series)
    reply = adapter.get(PATHS[kind].removesuffix("m") + "ahead")
    if reply.status != 200:
        assert (reply.status, not series or sum(value or 0 for value in values) > 2**53) in {(404, True), (503, True)}
        return
    served = [float(parse_quantity(item["value"])) for item in reply.json["items"]]
    assert all(3 <= one <= 2**53 for one in served)
    assert len(served) == len(values[:1] if kind == "object" else values)


def test_the_captured_traps_are_among_the_cases() -> None:
    """So that a shorter file can't make this suite say nothing."""
    names = {case.id for case in _cases()}
    assert names >= {"val-nan", "val-inf", "val-null", "val-absent", "val-empty", "val-neg", "val-huge", "items-empty"}
    assert names >= {"big-1e16", "obig-1e16", "eneg-mix", "p-none"}
