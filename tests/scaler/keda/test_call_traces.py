"""Calls of KEDA's belong to a trace, as requests over HTTP do."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloudpulse import audit, trace
from cloudpulse.promql import Series
from cloudpulse.testing import FakeClock, FakeSource
from scaler.keda import servicer
from scaler.keda.externalscaler_pb2 import GetMetricsRequest, GetMetricsResponse
from tests.scaler.keda.conftest import Keda, Port

RULES = "metrics: [{name: ahead, api: external, query: queue_depth, max_age: 2m}]"
PLACE = trace.Trace("1" * 32, "2" * 16, True)


def _ask(keda: Keda, *headers: tuple[str, str]) -> None:
    call: Any = keda.channel.unary_unary(
        f"/{servicer.SERVICE}/GetMetrics",
        request_serializer=GetMetricsRequest.SerializeToString,
        response_deserializer=GetMetricsResponse.FromString,
    )
    call(GetMetricsRequest(scaledObjectRef=keda.ref, metricName="ahead"), timeout=10, metadata=headers)


def test_a_calls_audit_line_has_the_id_of_its_callers_trace_or_one_of_its_own(
    serve_keda: Callable[..., contextlib.AbstractContextManager[Port]],
    sampled: Callable[..., list[Series]],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    clock = FakeClock()
    source = FakeSource(lambda query: sampled(5.0, clock(), queue="a"), clock)
    audit.to(str(tmp_path / "audit"))
    request.addfinalizer(lambda: audit.to(None))
    with serve_keda(RULES, source, clock) as port, port.client() as keda:
        _ask(keda, ("traceparent", PLACE.parent))
        _ask(keda)
    told = [json.loads(line)["trace_id"] for line in (tmp_path / "audit").read_text().splitlines()]
    assert told[0] == PLACE.trace_id
    assert len(set(told)) == 2
    assert all(len(identifier) == 32 for identifier in told)
