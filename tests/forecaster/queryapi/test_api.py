"""The HTTP face: parameters, errors, listings, freshness, and what clients make of it."""

from __future__ import annotations

import gzip
import json
import math
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from prometheus_api_client import PrometheusConnect
from prometheus_client.core import CollectorRegistry

from cloudpulse.config import PrometheusSettings
from cloudpulse.errors import QueryRejected
from cloudpulse.promql import Prometheus
from cloudpulse.testing import FakeClock, serving
from forecaster import curves
from forecaster.curves import Block, Curves
from forecaster.exporting import ForecastCollector
from forecaster.queryapi import views
from forecaster.queryapi.catalogue import Catalogue, moments
from forecaster.queryapi.elementwise import DATES, ELEMENTWISE
from forecaster.queryapi.functions import SPECIAL
from forecaster.queryapi.operators import AGGREGATIONS, BINARY
from forecaster.queryapi.query import MOST_AT_ONCE, MOST_WAITING
from forecaster.queryapi.values import Budget
from forecaster.queryapi.windows import WINDOWS
from forecaster.store import ForecastStore
from forecaster.testing import issue
from tests.forecaster.conftest import Bench

NOW = 1_700_000_000.0
CURVE = "cloudpulse_forecast_curve"
DOCS = Path(__file__).parents[3] / "docs" / "query-api.md"


class Site:
    """A forecaster's API over one forecast of three series, an hour of minutes ahead."""

    def __init__(self) -> None:
        self.clock = FakeClock(NOW)
        self.store = ForecastStore(self.clock)
        path = np.arange(60.0)[None, :, None] + np.array([0.0, 100.0, 200.0])[:, None, None]
        values = np.repeat(path, 3, axis=2) + np.array([0.0, 0.25, 0.5])
        self.labels = [{"instance": f"h{i}", "zone": "a" if i else 'b"\\'} for i in range(3)]
        self.store.put(issue("web", self.labels, values, start=NOW))
        self.app = Flask("site")
        self.app.register_blueprint(views.blueprint(Catalogue(self.store, Curves(self.store), self.clock), self.clock))
        self.client: FlaskClient = self.app.test_client()

    def get(self, path: str, status: int = 200, **form: Any) -> Any:
        answer = self.client.get(f"/api/v1/{path}", query_string=form)
        assert answer.status_code == status, answer.data
        assert answer.content_type == "application/json"
        return json.loads(answer.data)

    def values(self, query: str, at: float) -> dict[str, float]:
        data = self.get("query", query=query, time=at)["data"]["result"]
        return {item["metric"].get("instance", ""): float(item["value"][1]) for item in data}


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def url(site: Site) -> Iterator[str]:
    with serving(site.app.wsgi_app) as address:
        yield address


def test_grafanas_save_and_test_is_green(site: Site) -> None:
    """Its health check asks for 1+1 at the 4th second of 1970, then who answers (grafana/pkg/promlib)."""
    answer = site.client.post("/api/v1/query", data={"query": "1+1", "time": "4"})
    assert json.loads(answer.data)["data"] == {"resultType": "scalar", "result": [4, "2"]}
    assert site.get("status/buildinfo")["data"]["version"].startswith("2.42.0+cloudpulse.")
    assert site.get("rules")["data"] == {"groups": []}
    assert site.get("query_exemplars", query="x", start=1, end=2)["data"] == []


def test_a_query_at_a_future_time_answers_the_curve_there(site: Site) -> None:
    assert site.values(f'{CURVE}{{level="0.5"}}', NOW + 600) == {"h0": 10.25, "h1": 110.25, "h2": 210.25}


@pytest.mark.parametrize(
    "time", ["1700000600", "1700000600.0", "2023-11-14T22:23:20Z", "2023-11-14T23:23:20.000+01:00", "1.7000006e9"]
)
def test_times_are_unix_seconds_or_rfc3339(site: Site, time: str) -> None:
    data = site.get("query", query=f'{CURVE}{{level="0.5",instance="h0"}}', time=time)["data"]
    assert data["result"][0]["value"] == [1700000600, "10.25"]


@pytest.mark.parametrize("step", ["300", "300.0", "5m", "300s"])
def test_steps_are_seconds_or_durations(site: Site, step: str) -> None:
    form = {"query": f'{CURVE}{{level="0.5",instance="h0"}}', "start": NOW, "end": NOW + 600, "step": step}
    assert site.get("query_range", **form)["data"]["result"][0]["values"] == [
        [NOW, "0.25"],
        [NOW + 300, "5.25"],
        [NOW + 600, "10.25"],
    ]


@pytest.mark.parametrize(
    ("path", "form", "said"),
    [
        ("query", {"query": "1", "time": "soon"}, 'invalid parameter "time": cannot parse "soon" to a valid timestamp'),
        ("query", {"query": "1", "time": "1e300"}, 'invalid parameter "time"'),
        ("query", {"query": "1", "time": "NaN"}, 'invalid parameter "time"'),
        ("query", {"query": "1", "timeout": "x"}, 'invalid parameter "timeout"'),
        ("query", {"query": "1", "limit": "-1"}, 'invalid parameter "limit"'),
        ("query", {"query": "sum(a"}, 'invalid parameter "query": 1:6: parse error: unexpected end of input'),
        ("query", {"query": "a +\n* b"}, "invalid parameter \"query\": 2:1: parse error: unexpected '*'"),
        ("query_range", {"query": "1", "start": 2, "end": 1, "step": 1}, "end timestamp must not be before start"),
        ("query_range", {"query": "1", "start": 1, "end": 2, "step": 0}, "zero or negative query resolution"),
        ("query_range", {"query": "1", "start": 1, "end": 2}, 'invalid parameter "step": cannot parse ""'),
        ("query_range", {"query": "1", "start": 0, "end": 11001, "step": 1}, "exceeded maximum resolution of 11,000"),
        ("query_range", {"query": "a[5m]", "start": 1, "end": 2, "step": 1}, 'expression type "range vector"'),
        ("series", {}, "no match[] parameter provided"),
        ("series", {"match[]": "sum(a)"}, "expected a series selector"),
        ("labels", {"match[]": "{"}, 'invalid parameter "match[]"'),
        ("labels", {"start": "x"}, 'invalid parameter "start"'),
    ],
)
def test_what_cant_be_read_is_bad_data_and_named(site: Site, path: str, form: dict[str, Any], said: str) -> None:
    answer = site.get(path, 400, **form)
    assert (answer["status"], answer["errorType"]) == ("error", "bad_data")
    assert said in answer["error"]


@pytest.mark.parametrize(
    "query",
    ["histogram_quantile(0.5, a)", 'count_values("x", a)', "irate(a[5m])", 'a{b="c" or d="e"}'],
)
def test_what_the_subset_leaves_out_is_named_with_where_to_look(site: Site, query: str) -> None:
    answer = site.get("query", 422, query=query)
    assert answer["errorType"] == "execution"
    assert re.fullmatch(r"cloudpulse: .+ is not supported here; supported: see docs/query-api\.md", answer["error"])


@pytest.mark.parametrize("path", ["targets", "status/tsdb", "alertmanagers", "admin/tsdb/snapshot", "format_query"])
def test_what_else_prometheus_has_is_not_found_in_its_shape(site: Site, path: str) -> None:
    assert site.get(path, 404)["errorType"] == "not_found"


@pytest.mark.parametrize(
    "query",
    [
        "(" * 5000 + "1" + ")" * 4999,
        "-" * 9999 + "a",
        "a" + "[5m:]" * 1900,
        "abs(" * 2000 + "a" + ")" * 1999,
        "1" + "+1" * 4000,
        "1" + " ^ 1" * 900,
        "a" + " or a" * 900,
        "1" * 10_001,
        "{" * 3000,
        '"' + "\\" * 9998,
    ],
)
def test_deep_and_long_queries_are_refused_and_end_nothing(site: Site, query: str) -> None:
    """Ten thousand parentheses overflow the parser's stack, which would end the process."""
    assert site.get("query", 400, query=query)["errorType"] == "bad_data"


def test_a_query_as_deep_as_may_be_is_answered(site: Site) -> None:
    assert site.get("query", query="(" * 60 + "1" + ")" * 60)["data"]["result"][1] == "1"
    assert site.get("query", query="1" + " + 1" * 60)["data"]["result"][1] == "61"


def test_too_many_samples_are_refused(site: Site) -> None:
    answer = site.get("query", 422, query="sum_over_time(vector(1)[1w:100ms])")
    assert "too many samples" in answer["error"]


def test_samples_of_all_selectors_count_together_and_none_is_made_too_many(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """3 series of 3 levels and an hour each."""
    one = f"{CURVE}[1h] offset -1h"
    monkeypatch.setattr(Budget.__init__, "__defaults__", (600,))
    assert site.values(f"max_over_time({one})", NOW)
    made: list[int] = []
    monkeypatch.setattr(curves, "Block", lambda *block: made.append(block[2].size) or Block(*block))
    answer = site.get("query", 422, query=f"max_over_time({one}) + min_over_time({one})", time=NOW)
    assert "1,080" not in answer["error"]
    assert "too many samples" in answer["error"]
    assert sum(made) <= 600


def test_a_list_of_too_many_series_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "MOST_SERIES", 9)
    assert len(site.get("series", **{"match[]": CURVE})["data"]) == 9
    answer = site.get("series", 422, **{"match[]": '{__name__=~".+"}'})
    assert answer["error"] == "cloudpulse: more than 9 series; ask for fewer with match[]"


def test_more_clients_than_there_is_room_for_are_sent_away_and_the_rest_is_answered(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, select = threading.Event(), Curves.select

    def slow(*arguments: Any) -> Any:
        assert go_on.wait(30)
        return select(*arguments)

    monkeypatch.setattr(Curves, "select", slow)
    most = MOST_AT_ONCE + MOST_WAITING

    def ask(_: int) -> tuple[int, str]:
        answer = site.app.test_client().get("/api/v1/query", query_string={"query": CURVE, "time": NOW})
        if answer.status_code == 503:
            go_on.set()
        return answer.status_code, json.loads(answer.data).get("errorType", "")

    with ThreadPoolExecutor(most + 1) as clients:
        answers = sorted(clients.map(ask, range(most + 1)))
    assert answers == [*[(200, "")] * most, (503, "unavailable")]


def test_a_query_whose_time_is_over_says_so(site: Site) -> None:
    assert site.get("query", 503, query=CURVE, timeout="0")["errorType"] == "timeout"


def test_a_regular_expression_takes_linear_time_and_matches_the_whole_value(site: Site) -> None:
    assert site.values(f'{CURVE}{{level="0.5",instance=~"(h|0)*"}}', NOW) == {"h0": 0.25}
    assert site.values(f'{CURVE}{{instance=~"(a+)+{"a" * 50}b"}}', NOW) == {}


def test_labels_and_values_list_the_curve_and_what_is_exported(site: Site) -> None:
    assert site.get("labels")["data"] == [
        "__name__",
        "forecast",
        "horizon",
        "instance",
        "level",
        "matchers",
        "zone",
    ]
    listed = site.get("label/__name__/values")["data"]
    assert {CURVE, "cloudpulse_forecast_value", "cloudpulse_forecast_timestamp_seconds"} <= set(listed)
    assert site.get("label/zone/values")["data"] == ["a", 'b"\\']
    assert site.get("label/nosuch/values")["data"] == []
    assert site.get("labels", **{"match[]": "cloudpulse_forecast_series"})["data"] == ["__name__", "forecast"]
    assert set(site.get("metadata")["data"]) >= {CURVE, "cloudpulse_forecast_value"}


def test_all_that_the_page_shows_of_forecasts_can_be_asked_for(bench: Bench) -> None:
    """The same series with the same values; the models' are named `forecaster`."""
    bench.serve(2)
    bench.rounds(20)
    app = Flask("site")
    app.register_blueprint(views.blueprint(Catalogue(bench.store, Curves(bench.store), bench.clock), bench.clock))
    form = {"query": f'{{__name__=~"cloudpulse_.+", __name__!="{CURVE}"}}', "time": bench.clock()}
    found = json.loads(app.test_client().get("/api/v1/query", query_string=form).data)["data"]["result"]
    answered = {frozenset(one["metric"].items()): float(one["value"][1]) for one in found}
    registry = CollectorRegistry()
    registry.register(ForecastCollector(bench.store, bench.clock))
    page = {
        frozenset({"__name__": sample.name, **sample.labels}.items()): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name.startswith("cloudpulse_forecast_")
    }
    assert len(page) > 30
    assert answered == page


def test_a_series_is_found_by_how_it_is_named(site: Site) -> None:
    found = site.get("query", query='cloudpulse_forecast_info{matchers=~".*h1.*"}', time=NOW)["data"]["result"]
    assert [one["metric"]["matchers"] for one in found] == ['instance="h1",zone="a"']


def test_selectors_of_series_add_up(site: Site) -> None:
    both = [f'{CURVE}{{instance="h0",level="0.5"}}', 'cloudpulse_forecast_timestamp_seconds{instance="h2"}']
    answer = site.client.post("/api/v1/series", data={"match[]": both})
    assert [one["instance"] for one in json.loads(answer.data)["data"]] == ["h0", "h2"]


def test_a_limit_cuts_and_warns(site: Site) -> None:
    whole = site.get("label/level/values", limit=3)
    assert (len(whole["data"]), "warnings" in whole) == (3, False)
    for answer in (
        site.get("label/level/values", limit=2)["data"],
        site.get("query", query=CURVE, limit=2)["data"]["result"],
        site.get("series", **{"match[]": CURVE, "limit": 2})["data"],
    ):
        assert len(answer) == 2
    assert site.get("label/level/values", limit=2)["warnings"] == ["results truncated due to limit"]


def test_what_is_exported_is_there_from_its_issue_to_now_as_the_page_shows_it(site: Site) -> None:
    site.clock.advance(90)
    form = {"query": 'cloudpulse_forecast_value{level="0.5",instance="h0"}', "step": 15}
    (series,) = site.get("query_range", start=NOW - 600, end=NOW + 90, **form)["data"]["result"]
    assert [time for time, _ in series["values"]] == [NOW + 15 * i for i in range(6 + 1)]
    page = site.values('cloudpulse_forecast_value{level="0.5"}', NOW + 90)
    assert page == {"h0": pytest.approx(float(series["values"][-1][1])), "h1": pytest.approx(page["h0"] + 100)} | {
        "h2": pytest.approx(page["h0"] + 200)
    }


def test_nothing_is_there_before_the_issue_nor_long_after_now(site: Site) -> None:
    site.clock.advance(90)
    name = "cloudpulse_forecast_timestamp_seconds"
    assert site.values(name, NOW - 1) == {}
    assert set(site.values(name, NOW + 90 + 300)) == {"h0", "h1", "h2"}
    assert site.values(name, NOW + 90 + 301) == {}


def test_a_stale_forecast_is_absent_everywhere(site: Site) -> None:
    site.clock.advance(301)
    assert site.values('{__name__=~"cloudpulse_.+"}', NOW + 301) == {}
    assert site.values(CURVE, NOW + 600) == {}
    assert site.get("labels")["data"] == []


@pytest.mark.parametrize("age", [0.0, 7.0, 90.0, 300.0, 4000.0, 200_000.0])
def test_no_query_falls_between_two_moments_of_an_old_issue(age: float) -> None:
    times = moments(NOW, NOW + age)
    assert (times[0], times[-1]) == (NOW, NOW + age)
    assert np.diff(times).max(initial=0) <= 240
    assert len(times) <= max(22, age / 240 + 2)


def test_answers_are_packed_for_who_accepts_it(site: Site) -> None:
    form = {"query": CURVE, "start": NOW, "end": NOW + 3540, "step": 60}
    plain = site.client.get("/api/v1/query_range", query_string=form)
    packed = site.client.get("/api/v1/query_range", query_string=form, headers={"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data
    assert "Content-Encoding" not in plain.headers


@pytest.mark.parametrize("chunked", [False, True])
def test_a_form_that_is_too_large_is_refused(url: str, chunked: bool) -> None:
    """Whether it says its length or not."""
    form = b"query=" + b"1" * 2_000_000
    body = iter([form[:1_000_000], form[1_000_000:]]) if chunked else form
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = requests.post(f"{url}/api/v1/query", data=body, headers=headers, timeout=20)
    assert answer.status_code == 400
    assert answer.json()["errorType"] == "bad_data"
    assert "too large" in answer.json()["error"]


def test_a_fault_of_ours_is_internal_and_tells_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Any:
        raise RuntimeError("secret")

    monkeypatch.setattr(Catalogue, "listed", broken)
    answer = site.get("labels", 500)
    assert answer["errorType"] == "internal"
    assert "secret" not in answer["error"]


def test_prometheus_api_client_reads_it(url: str) -> None:
    client = PrometheusConnect(url=url)
    assert CURVE in client.all_metrics()
    at = {"time": str(NOW + 60)}
    found = client.custom_query(f'{CURVE}{{instance="h0",level="0.9"}}', params=at)
    assert found[0]["value"] == [NOW + 60, "1.5"]
    start, end = (datetime.fromtimestamp(NOW + seconds, UTC) for seconds in (0, 120))
    ranged = client.custom_query_range(f'sum({CURVE}{{level="0.1"}})', start, end, "60")
    assert ranged == [{"metric": {}, "values": [[NOW, "300"], [NOW + 60, "303"], [NOW + 120, "306"]]}]


def test_our_own_client_reads_it(url: str) -> None:
    source = Prometheus(PrometheusSettings(url=url))
    try:
        found = source.instant(f'-{CURVE}{{level="0.5"}} / 0', NOW + 60)
        assert [one.value for one in found] == [-math.inf] * 3
        (series,) = source.range(f'{CURVE}{{level="0.5",instance="h1"}}', NOW, NOW + 120, 60)
        assert series.values.tolist() == [100.25, 101.25, 102.25]
        with pytest.raises(QueryRejected, match="histogram_quantile"):
            source.instant("histogram_quantile(0.5, a)", NOW)
    finally:
        source.close()


def test_the_docs_list_what_is_supported_and_nothing_else() -> None:
    listed = {}
    for title, text in re.findall(r"<!-- ([a-z ]+) -->\n(.*?)(?=<!--)", DOCS.read_text(encoding="utf-8"), re.DOTALL):
        listed[title] = set(re.findall(r"`([^`]+)`", text)) - {
            "bool", "on", "ignoring", "group_left", "group_right", "by", "without"
        }  # fmt: skip
    assert listed == {
        "operators": set(BINARY),
        "aggregations": set(AGGREGATIONS),
        "functions of values": set(ELEMENTWISE),
        "functions of dates": set(DATES),
        "functions of ranges": set(WINDOWS),
        "other functions": set(SPECIAL),
    }
