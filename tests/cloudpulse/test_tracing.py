from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from alert_bridge.testing import eventually, free_port
from cloudpulse import names, otlp, trace, tracing
from cloudpulse.config import ClientTls, PrometheusSettings, Secret, parse
from cloudpulse.errors import ConfigError, DependencyMissing, QueryRejected
from cloudpulse.itself import Itself
from cloudpulse.otlp import Recorder
from cloudpulse.promql import Prometheus
from cloudpulse.testing import FakeClock, FakeSource, captured_logs, query_api, serving
from cloudpulse.traced import ROUTE, Traced
from cloudpulse.tracing import TracingSettings
from tests.otlp import Collector, collecting

INTERNAL, SERVER, CLIENT = 1, 2, 3
PARENT = trace.Trace("1" * 32, "2" * 16, True, "vendor=1")


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(autouse=True)
def off_again() -> Iterator[None]:
    yield
    trace.record(None)


def _recording(collector: Collector, **settings: Any) -> Recorder:
    recorder = Recorder("test", TracingSettings(endpoint=collector.url, **settings))
    trace.record(recorder)
    return recorder


def test_spans_are_nested_named_and_sent_when_the_process_ends(collector: Collector) -> None:
    recorder = _recording(collector, service_name="mine")
    with trace.within(PARENT), trace.span("forecast round", cloudpulse__forecast="web") as outer:
        with trace.span("query prometheus", "client", db__query__text="up") as inner:
            inner.set("http.response.status_code", 200)
        outer.named("renamed")
        identifier = trace.identifier()
        trace.past("train part", trace.current(), time.time() - 5, "ValueError", cloudpulse__series=3)
    recorder.close()
    (query,) = collector.named("query prometheus")
    (round_,) = collector.named("renamed")
    (part,) = collector.named("train part")
    assert {one.trace_id for one in (query, round_, part)} == {identifier} == {PARENT.trace_id}
    assert (round_.parent, query.parent, part.parent) == (PARENT.span_id, round_.span_id, round_.span_id)
    assert (round_.kind, query.kind, part.kind) == (INTERNAL, CLIENT, INTERNAL)
    assert (round_.attributes, round_.failed) == ({"cloudpulse.forecast": "web"}, None)
    assert query.attributes == {"db.query.text": "up", "http.response.status_code": 200}
    assert (part.attributes, part.failed) == ({"cloudpulse.series": 3}, "ValueError")
    assert {one.service for one in collector.spans} == {"mine"}


def test_an_exception_fails_its_span_and_its_text_stays_here(collector: Collector) -> None:
    recorder = _recording(collector)
    with pytest.raises(ValueError, match="s3cret"), trace.span("round"):
        raise ValueError("s3cret")
    recorder.close()
    (span,) = collector.spans
    assert span.failed == "ValueError"
    assert "s3cret" not in str(collector.spans)


def test_who_asks_says_whether_a_trace_is_recorded_and_the_ratio_says_it_of_those_that_begin_here(
    collector: Collector,
) -> None:
    recorder = _recording(collector, sample_ratio=0.0)
    with trace.span("ours"):
        assert trace.headers()["traceparent"].endswith("-00")
    with trace.within(PARENT._replace(sampled=False)), trace.span("unwanted"):
        assert trace.identifier() == PARENT.trace_id
    with trace.within(PARENT), trace.span("wanted"):
        assert trace.headers()["traceparent"].endswith("-01")
    recorder.close()
    assert [span.name for span in collector.spans] == ["wanted"]


def test_a_request_that_has_an_id_and_no_trace_is_recorded_by_that_id_and_probes_are_not(collector: Collector) -> None:
    recorder = _recording(collector)

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ[ROUTE] = "/api/<name>"
        with trace.span("inside"):
            start_response("503 Service Unavailable", [])
            return [b""]

    with serving(Traced(app)) as url:
        answer = requests.get(f"{url}/api/a?token=s3cret", headers={"X-Request-Id": "a" * 32}, timeout=10)
        requests.get(f"{url}/metrics", timeout=10)
        requests.get(f"{url}/metrics", headers={"traceparent": PARENT.parent}, timeout=10)
    recorder.close()
    assert answer.headers["X-Request-Id"] == "a" * 32
    first, scraped = collector.named("GET /api/<name>")
    (inside, _) = collector.named("inside")
    assert (first.trace_id, first.parent, first.kind, first.failed) == ("a" * 32, "", SERVER, "503")
    assert (inside.trace_id, inside.parent) == (first.trace_id, first.span_id)
    assert (first.attributes["url.path"], first.attributes["http.response.status_code"]) == ("/api/a", 503)
    assert (scraped.trace_id, scraped.parent) == (PARENT.trace_id, PARENT.span_id)
    assert "s3cret" not in str(collector.spans)


def test_headers_and_those_of_a_file_are_sent(collector: Collector, tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text("X-Tenant: blue\nAuthorization: Bearer s3cret\n")
    recorder = _recording(collector, headers={"X-Key": Secret("k")}, headers_file=file)
    with trace.span("a"):
        pass
    recorder.close()
    (headers,) = collector.headers
    assert (headers["HTTP_X_KEY"], headers["HTTP_X_TENANT"]) == ("k", "blue")
    assert headers["HTTP_AUTHORIZATION"] == "Bearer s3cret"
    file.write_text("Bearer s3cret")
    with pytest.raises(ConfigError, match="line 1: expected `Name: value`") as caught:
        Recorder("test", TracingSettings(endpoint=collector.url, headers_file=file))
    assert "s3cret" not in str(caught.value)


def _lose(recorder: Recorder) -> None:
    before = recorder.lost
    with trace.span("lost"):
        pass
    eventually(lambda: recorder.lost > before)


def test_a_collector_that_is_away_costs_spans_and_one_line_and_nothing_else(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp, "SEND_EVERY_SECONDS", 0.05)
    collector.status = 400
    with captured_logs() as lines:
        recorder = _recording(collector)
        for _ in range(2):
            _lose(recorder)
        collector.status = 200
        with trace.span("kept"):
            pass
        eventually(lambda: [line["event"] for line in lines][-1:] == ["spans are taken again"])
        recorder.close()
    assert [line["event"] for line in lines] == ["spans are lost, work goes on", "spans are taken again"]
    assert lines[0]["why"] == "the collector answered 400"
    assert lines[-1]["lost"] == recorder.lost == 2
    assert [span.name for span in collector.spans] == ["kept"]


def test_more_spans_than_are_sent_wait_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "MOST_WAITING", 3)
    monkeypatch.setattr(otlp, "SEND_EVERY_SECONDS", 3600.0)
    recorder = Recorder("test", TracingSettings(endpoint=f"http://127.0.0.1:{free_port()}"))
    trace.record(recorder)
    with captured_logs() as lines:
        for _ in range(10):
            with trace.span("many"):
                pass
        assert trace.lost() == 7
        recorder.close()
    assert [line["event"] for line in lines] == ["spans are lost, work goes on"]


PROGRAM = """
import sys, time
from pathlib import Path
from cloudpulse import config, options, trace

options.record_spans("test", config.parse("", Path("none"), {}))
with trace.span("last"):
    pass
print(*sorted({"cloudpulse.tracing", "opentelemetry", "requests"} & set(sys.modules)))
"""


LOADED = "cloudpulse.tracing opentelemetry requests"


def _program(**environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


def test_opentelemetry_is_not_even_loaded_unless_it_is_configured() -> None:
    assert _program() == ""


def test_the_standards_variables_turn_it_on_and_an_exit_sends_what_waits(collector: Collector) -> None:
    assert _program(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_SERVICE_NAME="by-variable") == LOADED
    assert [(span.name, span.service) for span in collector.spans] == [("last", "by-variable")]


def test_a_collector_that_is_not_there_does_not_keep_the_process() -> None:
    """No clock decides: the program would wait for minutes, and its own limit is the test's."""
    assert _program(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}") == LOADED


def test_a_collector_that_never_answers_does_not_keep_the_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert _program(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{silent.getsockname()[1]}") == LOADED


def test_what_was_not_sent_when_the_process_ends_is_lost_and_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, captured_logs() as lines:
        recorder = Recorder("test", TracingSettings(endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}"))
        trace.record(recorder)
        for _ in range(3):
            with trace.span("last"):
                pass
        recorder.close()
    (line,) = lines
    assert (line["count"], line["why"], recorder.lost) == (3, "the process ends", 3)


def test_a_redirect_is_not_followed_and_no_success(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    collector.status = 302
    with captured_logs() as lines:
        recorder = _recording(collector)
        with trace.span("lost"):
            pass
        recorder.close()
    assert [line["why"] for line in lines] == ["the collector answered 302"]
    assert recorder.lost == 1


def test_lost_spans_are_a_series_where_there_are_traces(collector: Collector) -> None:
    def shown() -> list[float]:
        return [family.values[0] for family in Itself().collect() if family.sample_name == names.SPANS_LOST.name]

    assert shown() == []
    recorder = _recording(collector)
    assert shown() == [0.0]
    recorder.close()


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"OTEL_SDK_DISABLED": "TRUE"}, ""),
        ({"OTEL_TRACES_EXPORTER": "none"}, ""),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER is zipkin"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL is grpc"),
        ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"}, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL is http/json"),
    ],
)
def test_variables_that_ask_for_something_else_turn_nothing_on(
    environment: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", **environment}.items():
        monkeypatch.setenv(name, value)
    with captured_logs() as lines:
        tracing.begin("test", parse("", Path("none"), {}))
    assert not trace.recording()
    assert [line["event"] for line in lines] == ["spans are not recorded"] * bool(told)
    assert told in str(lines)


def test_the_standards_variables_mean_what_the_standard_says(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.url}/v1/traces",  # as it is, without a path of ours
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20s3cret,x-tenant=a%2Cb",
        "OTEL_RESOURCE_ATTRIBUTES": "service.name=ours,deployment=blue",
        "OTEL_TRACES_SAMPLER": "always_off",
    }.items():
        monkeypatch.setenv(name, value)
    recorder = Recorder("test", TracingSettings())
    trace.record(recorder)
    with trace.span("unwanted"):
        pass
    recorder.close()
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_on")
    recorder = Recorder("test", TracingSettings())
    trace.record(recorder)
    with trace.span("wanted"):
        pass
    recorder.close()
    (span,) = collector.spans
    assert (span.name, span.service) == ("wanted", "ours")
    (headers,) = collector.headers
    assert (headers["HTTP_AUTHORIZATION"], headers["HTTP_X_TENANT"]) == ("Bearer s3cret", "a,b")


def test_without_the_package_only_the_config_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Platforms set the variables for everything that they run."""
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "cloudpulse.otlp", raising=False)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    with captured_logs() as lines:
        tracing.begin("test", parse("", Path("none"), {}))
    assert [line["event"] for line in lines] == ["spans are not recorded"]
    with pytest.raises(DependencyMissing, match=r"pip install 'cloudpulse\[tracing\]'"):
        tracing.begin("test", parse("tracing: {endpoint: 'http://127.0.0.1:1'}", Path("none"), {}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tracing: {endpoint: 'collector:4318'}", 'endpoint: expected a URL such as http://localhost:4318, got "coll'),
        ("tracing: {endpoint: 'http://'}", "endpoint: expected a URL"),
        ("tracing: {endpoint: 'http://a:b'}", "endpoint: expected a URL"),
        ("tracing: {endpoint: 'http://a/?token=s3cret'}", "expected no password and no query in it"),
        ("tracing: {endpoint: 'http://me:s3cret@a'}", "put what is secret into headers"),
        ("tracing: {endpoint: 'http://a', sample_ratio: 2}", "tracing.sample_ratio"),
        ("tracing: {tls_config: {insecure_skip_verify: true}}", "give the collector's CA as ca_file"),
    ],
)
def test_a_wrong_section_is_refused(text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, Path("cloudpulse.yaml"), {}).section("tracing", TracingSettings)
    assert expected in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_file_that_is_not_there_is_told_at_start(tmp_path: Path) -> None:
    """Not with the first span that is lost for it."""
    settings = TracingSettings(endpoint="https://a", tls_config=ClientTls(ca_file=tmp_path / "ca.pem"))
    with pytest.raises(ConfigError, match=r"tracing.tls_config.ca_file: .*ca.pem: there is no such file"):
        Recorder("test", settings)


def test_a_query_is_a_span_and_prometheus_hears_of_its_trace(collector: Collector) -> None:
    asked: list[str] = []
    source = FakeSource(lambda query: [], FakeClock())
    answer = query_api(source)

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        asked.append(environ["HTTP_TRACEPARENT"])
        return answer(environ, start_response)

    recorder = _recording(collector)
    with serving(app) as url:
        prometheus = Prometheus(PrometheusSettings(url=url))
        with trace.within(PARENT):
            prometheus.instant("up")
            source.error = QueryRejected("no")
            with pytest.raises(QueryRejected):
                prometheus.range("up[", 0, 60, 60)
        prometheus.close()
    recorder.close()
    good, bad = collector.spans
    assert [f"00-{one.trace_id}-{one.span_id}-01" for one in (good, bad)] == asked
    assert {one.parent for one in (good, bad)} == {PARENT.span_id}
    assert (good.name, good.kind, good.failed) == ("query prometheus", CLIENT, None)
    assert good.attributes["db.query.text"] == "up"
    assert (bad.name, bad.failed) == ("query_range prometheus", "QueryRejected")
