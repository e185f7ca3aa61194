"""A real Prometheus with `remote_read`: what works in its PromQL, and what doesn't."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import cramjam
import pytest
import requests

from forecaster.curves import NAME
from forecaster.remoteread import chunks, remote_pb2
from tests.forecaster.remoteread.conftest import APPS, Future, demand
from tests.forecaster.remoteread.decoder import frames, samples

HOUR = 3600
CURVE = NAME
HIGH = f'{NAME}{{forecast="demand", level="0.9"}}'


def until(found: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if answer := found():
            return answer
        time.sleep(0.2)
    pytest.fail(f"not within a minute: {what}")


def test_a_range_query_goes_a_day_into_the_future(future: Future) -> None:
    end = future.start + 24 * HOUR
    found = future.range(HIGH, future.start - HOUR, end, 300)
    assert found.keys() == {"shop", "search"}
    for i, app in enumerate(("shop", "search")):
        assert found[app] == [
            (moment, future.path(i, 2, moment - future.start)) for moment in range(future.start, end + 1, 300)
        ]


def test_an_instant_query_sees_a_future_moment(future: Future) -> None:
    assert future.instant(HIGH, future.start + 6 * HOUR) == {"shop": 560, "search": 1560}
    assert future.instant(f"{HIGH} offset -6h") == {"shop": 560, "search": 1560}


def test_the_future_is_named_by_a_time(future: Future) -> None:
    assert future.instant(f"{HIGH} @ {future.start + 3 * HOUR}", future.start) == {"shop": 380, "search": 1380}


def test_a_window_ahead_is_one_back_from_its_end(future: Future) -> None:
    assert future.instant(f"max_over_time({HIGH}[24h] offset -24h)") == {"shop": 1640, "search": 2640}
    assert future.instant(f"min_over_time({HIGH}[1h] offset -2h)")["shop"] == pytest.approx(260, abs=1)


def test_subqueries_see_the_future(future: Future) -> None:
    found = future.instant(f"max_over_time(sum without (app, zone) ({HIGH})[2h:10m] offset -2h)")
    assert found[""] == pytest.approx(1000 + 2 * 200 + 2 * 120, abs=20)


def test_the_future_joins_with_local_series(future: Future) -> None:
    now = future.start - 60
    found = future.instant(f"({HIGH} offset -1h) / on (app) group_left cloudpulse_demo_requests_per_minute", now)
    assert found == {app["app"]: future.path(i, 2, HOUR - 60) / demand(i, now) for i, app in enumerate(APPS)}


def test_steps_of_an_hour_leave_no_gap(future: Future) -> None:
    query = f'{CURVE}{{forecast="hourly"}}'
    found = future.range(query, future.start, future.start + 30 * HOUR, 60)["shop"]
    assert len(found) == 30 * 60 + 1
    assert dict(found)[future.start + HOUR + 1800] == 90


def test_a_recording_rule_records_the_future(future: Future) -> None:
    found = until(lambda: future.instant("app:demand_ahead:max", time.time()), "a recorded series")
    assert found["search"] - found["shop"] == 1000
    assert 900 <= found["shop"] <= 1000


def test_an_alerting_rule_fires_on_the_future(future: Future) -> None:
    alerts = until(lambda: future.get("alerts")["data"]["alerts"], "an alert")
    (labels,) = [one["labels"] for one in alerts]
    assert (labels["app"], labels["level"], labels["forecast"]) == ("search", "0.9", "demand")


@pytest.mark.parametrize(
    ("matchers", "apps"),
    [
        ('app="shop"', {"shop"}),
        ('app!="shop"', {"search"}),
        ('app=~"s.*h"', {"search"}),
        ('app!~"s.*h"', {"shop"}),
        ('zone=""', {"search"}),
        ('zone!=""', {"shop"}),
        ('zone=~"|b"', {"search"}),
        ('zone!~"a|b"', {"search"}),
        ('app="other"', set()),
    ],
)
def test_matchers_of_all_kinds_select(future: Future, matchers: str, apps: set[str]) -> None:
    """Prometheus does not filter what comes back."""
    query = f'{CURVE}{{forecast="demand", level="0.5", {matchers}}}'
    assert future.instant(query).keys() == apps


def test_a_regular_expression_on_the_name_finds_nothing_and_asks_nobody(future: Future) -> None:
    """`required_matchers` means matchers of equality; docs/future.md says so."""
    assert future.instant('{__name__=~"cloudpulse_forecast_curve"}') == {}
    assert future.instant(f'{{__name__="{CURVE}", forecast="hourly"}}') == {"shop": 0}


def test_other_queries_never_reach_the_forecaster(future: Future) -> None:
    future.instant("cloudpulse_demo_requests_per_minute")
    future.instant("up")
    future.range('{__name__=~"cloudpulse_.+"}', future.start - HOUR, future.start + HOUR, 60)
    future.instant(HIGH)
    assert future.asked
    for request in list(future.asked):
        for query in request.queries:
            assert ("__name__", remote_pb2.LabelMatcher.EQ, NAME) in [(m.name, m.type, m.value) for m in query.matchers]


def test_external_labels_are_neither_asked_for_nor_taken_away(future: Future) -> None:
    assert future.instant(HIGH)
    assert "cluster" not in {
        m.name for request in list(future.asked) for query in request.queries for m in query.matchers
    }


def test_the_whole_of_time_can_be_asked_for(future: Future) -> None:
    found = future.get("series", **{"match[]": CURVE})["data"]
    assert len(found) == 2 * 3 + 1
    assert {one["__name__"] for one in found} == {NAME}


def test_browsing_does_not_list_the_curve(future: Future) -> None:
    """Grafana's completion takes the labels of `cloudpulse_forecast_value`, which is scraped and has the same ones."""
    assert future.instant(HIGH)
    listed = future.get("label/__name__/values")["data"]
    assert "cloudpulse_demo_requests_per_minute" in listed
    assert CURVE not in listed


def test_without_the_forecaster_the_rest_of_the_answer_stands(future: Future) -> None:
    query = f"{HIGH} or cloudpulse_demo_requests_per_minute"
    future.down = True
    try:
        answer = future.get("query", query=query, time=future.start - 60)
    finally:
        future.down = False
    assert "remote_read" in answer["warnings"][0]
    assert {one["metric"]["__name__"] for one in answer["data"]["result"]} == {"cloudpulse_demo_requests_per_minute"}
    assert "warnings" not in future.get("query", query=query, time=future.start - 60)


def test_an_endpoint_that_refuses_connections_is_a_warning_too(future: Future) -> None:
    query = "nobody_answers or cloudpulse_demo_requests_per_minute"
    answer = future.get("query", query=query, time=future.start - 60)
    assert "remote_read" in answer["warnings"][0]
    assert len(answer["data"]["result"]) == 2


def test_prometheus_own_chunks_are_decoded(future: Future) -> None:
    """So that the decoder of these tests, by which our chunks are judged, is known to be right."""
    for name in ("odd", "cloudpulse_demo_requests_per_minute"):
        decoded: dict[str, list[tuple[int, int]]] = {}
        for app, chunk in _chunks(future, name):
            decoded.setdefault(app, []).extend(samples(chunk))
        assert decoded == _local(future, name)
        assert sum(map(len, decoded.values())) > 450


def _chunks(future: Future, name: str) -> Iterator[tuple[str, bytes]]:
    """App and data of each chunk that Prometheus streams of its own series."""
    request = remote_pb2.ReadRequest(accepted_response_types=[remote_pb2.ReadRequest.STREAMED_XOR_CHUNKS])
    query = request.queries.add(start_timestamp_ms=0, end_timestamp_ms=future.start * 1000)
    query.matchers.add(type=remote_pb2.LabelMatcher.EQ, name="__name__", value=name)
    body = bytes(cramjam.snappy.compress_raw(request.SerializeToString()))
    answer = requests.post(f"{future.url}/api/v1/read", data=body, timeout=20)
    assert answer.headers["Content-Type"] == chunks.CONTENT_TYPE
    for frame in frames(answer.content):
        for series in frame.chunked_series:
            app = {label.name: label.value for label in series.labels}.get("app", "")
            yield from ((app, chunk.data) for chunk in series.chunks)


def _local(future: Future, name: str) -> dict[str, list[tuple[int, int]]]:
    """Times and bits of the samples in Prometheus' own storage, by app, as its query API tells them."""
    answer = future.get("query", query=f"{name}[27h]", time=future.start)
    return {
        one["metric"].get("app", ""): [(round(t * 1000), _bits(float(v))) for t, v in one["values"]]
        for one in answer["data"]["result"]
    }


def _bits(value: float) -> int:
    return int.from_bytes(struct.pack(">d", value), "big")
