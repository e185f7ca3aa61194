"""What KEDA gets: values, targets, activity, and errors where there is no value to trust."""

from __future__ import annotations

import contextlib
from asyncio import Event
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from cloudpulse.errors import SourceUnavailable
from cloudpulse.promql import Series
from cloudpulse.testing import FakeClock, FakeSource
from scaler.config import ScalerSettings
from scaler.keda.externalscaler_pb2 import GetMetricsRequest, ScaledObjectRef
from scaler.keda.servicer import Caller, Servicer
from scaler.keda.trigger import KEYS
from scaler.meters import Meters
from scaler.provider import Provider
from scaler.refusal import Refused
from tests.scaler.keda.conftest import Keda, Port

RULES = """
metrics:
  - {name: Ahead, api: external, forecast: web_rps, horizon: 15m, floor: none, resource: {namespace: namespace}}
  - {name: shared, api: external, query: 'queue_depth'}
  - {name: pods, api: custom, query: 'busy', resource: {namespace: namespace, pod: pod}}
"""


class World:
    """What Prometheus holds: forecasts by (namespace, app), made `age` seconds ago."""

    def __init__(self, forecast: Callable[..., list[Series]], sampled: Callable[..., list[Series]]) -> None:
        self.clock = FakeClock()
        self.values = {("demo", "web"): 250.0, ("demo", "api"): 0.5, ("other", "web"): 9000.0}
        self.age = 20.0
        self._forecast = forecast
        self._sampled = sampled
        self.source = FakeSource(self._answer, self.clock)

    def _answer(self, query: str) -> list[Series]:
        now = self.clock()
        if "queue_depth" in query:
            return self._sampled(3.0, now, queue="a") + self._sampled(4.0, now, queue="b")
        if "busy" in query:
            return self._sampled(1.0, now, namespace="demo", pod="web-1")
        return [
            series
            for (namespace, app), value in self.values.items()
            for series in self._forecast(value, now, now - self.age, namespace=namespace, app=app)
        ]


@pytest.fixture
def world(forecast: Callable[..., list[Series]], sampled: Callable[..., list[Series]]) -> World:
    return World(forecast, sampled)


@pytest.fixture
def port(serve_keda: Callable[..., contextlib.AbstractContextManager[Port]], world: World) -> Iterator[Port]:
    with serve_keda(RULES, world.source, world.clock) as port:
        yield port


@pytest.fixture
def keda(port: Port) -> Iterator[Keda]:
    with port.client() as client:
        yield client


def test_the_value_is_the_sum_over_the_selected_series_of_the_scaledobjects_own_namespace(keda: Keda) -> None:
    assert keda.metrics() == 250.5
    assert keda.asking(selector="app=web").metrics() == 250
    assert keda.asking(selector="app in (api, nothing)").metrics() == 0.5
    assert keda.asking(namespace="other").metrics() == 9000


def test_a_rule_without_a_namespace_is_the_same_for_every_scaledobject(keda: Keda) -> None:
    assert keda.asking(metricName="shared").metrics() == 7
    assert keda.asking(namespace="anywhere", metricName="shared").metrics() == 7


def test_the_target_is_the_triggers_and_the_name_is_in_lower_case_as_kubernetes_will_ask_for_it(keda: Keda) -> None:
    assert keda.asking(targetValue="0.5").spec() == ("ahead", 0.5)
    assert keda.asking(metricName="AHEAD", targetValue=" 1e2 ").spec() == ("ahead", 100)


def test_it_is_active_above_the_activation_value_alone(keda: Keda) -> None:
    assert keda.is_active()
    assert keda.asking(activationValue="250.4").is_active()
    assert not keda.asking(activationValue="250.5").is_active()


def test_a_zero_that_was_measured_is_zero_and_not_active(keda: Keda, port: Port, world: World) -> None:
    world.values = {("demo", "web"): 0.0}
    port.evaluate()
    assert keda.metrics() == 0
    assert not keda.is_active()


@pytest.mark.parametrize("call", ["metrics", "is_active"])
@pytest.mark.parametrize(
    ("trouble", "why"),
    [
        ("stale", "forecast web_rps was made 10m ago, more than max_age 2m"),
        ("nan", "nan is not a number"),
        ("infinite", "inf is not a number"),
        ("negative", "is negative"),
        ("missing", "has no series in namespace demo"),
    ],
)
def test_without_a_value_to_trust_there_is_an_error_and_never_zero_or_false(
    keda: Keda, port: Port, world: World, call: str, trouble: str, why: str
) -> None:
    if trouble == "stale":
        world.age = 600
    elif trouble == "missing":
        del world.values["demo", "web"], world.values["demo", "api"]
    else:
        world.values["demo", "web"] = float({"negative": "-1"}.get(trouble, trouble.removesuffix("inite")))
    port.evaluate()
    code, details = keda.refused(getattr(keda, call))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert why in details
    assert keda.spec() == ("ahead", 100)  # the HPA keeps its metric meanwhile


def test_prometheus_away_is_served_until_max_age_then_refused_and_served_again_when_back(
    keda: Keda, port: Port, world: World
) -> None:
    world.source.error = SourceUnavailable("prometheus: connection refused")
    world.clock.advance(90)
    port.evaluate()
    assert keda.metrics() == 250.5
    world.clock.advance(40)
    port.evaluate()
    code, details = keda.refused(keda.metrics)
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "Prometheus can't be reached" in details
    assert keda.refused(keda.is_active)[0] is grpc.StatusCode.UNAVAILABLE
    world.source.error = None
    port.evaluate()
    assert keda.metrics() == 250.5


def test_a_metric_that_no_rule_has_is_not_found(keda: Keda) -> None:
    wrong = keda.asking(metricName="nothing")
    for call in (wrong.metrics, wrong.is_active, wrong.spec):
        code, details = keda.refused(call)
        assert code is grpc.StatusCode.NOT_FOUND
        assert 'no external metric "nothing"' in details


def test_a_custom_metric_is_refused_with_what_to_do(keda: Keda) -> None:
    code, details = keda.refused(keda.asking(metricName="pods").metrics)
    assert code is grpc.StatusCode.NOT_FOUND
    assert "is a custom metric" in details
    assert "api: external" in details


def test_another_metric_than_the_triggers_is_not_answered(keda: Keda) -> None:
    code, details = keda.refused(lambda: keda.metrics("shared"))
    assert code is grpc.StatusCode.NOT_FOUND
    assert 'the metric "ahead", not "shared"' in details


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ({"metricName": " "}, "metricName: missing"),
        ({"targetValue": "fast"}, 'targetValue: expected a number from 0.001 to 2^53, got "fast"'),
        ({"targetValue": ""}, "targetValue: expected"),
        ({"targetValue": "0"}, "targetValue: expected"),
        ({"targetValue": "0.0004"}, "targetValue: expected"),
        ({"targetValue": "0.0015"}, "targetValue: 0.0015 would be counted as 0.002"),
        ({"targetValue": "-5"}, "targetValue: expected"),
        ({"targetValue": "NaN"}, "targetValue: expected"),
        ({"targetValue": "inf"}, "targetValue: expected"),
        ({"targetValue": "1e400"}, "targetValue: expected"),
        ({"targetValue": "1e17"}, "targetValue: expected"),
        ({"targetValue": "1_000"}, "targetValue: expected"),
        ({"targetValue": "9" * 5000}, "targetValue: expected"),
        ({"activationValue": "nan"}, "activationValue: expected a number from 0 to 2^53"),
        ({"activationvalue": "5"}, "activationvalue is not known, did you mean activationValue?"),
        ({"selectors": "a=b"}, "did you mean selector?"),
        ({"selector": "app=web,,"}, "label selector"),
        ({"selector": "app=web," + "x" * 20000 + " y"}, "label selector"),
    ],
)
def test_metadata_that_make_no_sense_are_an_invalid_argument_that_says_which(
    keda: Keda, metadata: dict[str, str], why: str
) -> None:
    wrong = keda.asking(**metadata)
    for call in (lambda: wrong.metrics("ahead"), wrong.is_active, wrong.spec, lambda: next(wrong.stream())):
        code, details = keda.refused(call)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert details.startswith("trigger of ScaledObject demo/web: ")
        assert why in details
        assert len(details) <= 1000


def test_a_trigger_without_a_target_or_a_namespace_is_refused(keda: Keda) -> None:
    bare = Keda(keda.channel, "demo", {"metricName": "ahead"})
    assert "targetValue: missing" in keda.refused(bare.metrics)[1]
    code, details = keda.refused(keda.asking(namespace="").metrics)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "namespace: missing" in details


def test_huge_metadata_are_refused_and_the_connection_goes_on(keda: Keda) -> None:
    code, _ = keda.refused(keda.asking(selector="a" * 100_000).metrics)
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert keda.metrics() == 250.5


def test_a_fault_of_ours_is_an_error_of_that_call_alone_and_not_a_false(
    keda: Keda, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Provider, "external", lambda *_: 1 / 0)
        for call in (keda.metrics, keda.is_active, lambda: next(keda.stream())):
            assert keda.refused(call)[0] is grpc.StatusCode.UNKNOWN
    assert keda.is_active()


WORDS = st.sampled_from(("ahead", "nothing", "pods", "100", "0.5", "1e3", "-1", "nan", "app=web", "a in (", "!app", ""))


@given(
    metadata=st.dictionaries(
        st.sampled_from((*KEYS, "metricname")) | st.text(max_size=20), WORDS | st.text(), max_size=6
    ),
    namespace=st.sampled_from(("demo", "other", "", "..")) | st.text(max_size=10),
)
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_metadata_are_there_is_a_true_value_of_that_namespace_or_a_refusal(
    port: Port, world: World, metadata: dict[str, str], namespace: str
) -> None:
    servicer = Servicer(lambda: port.service.provider, Meters(CollectorRegistry(), world.clock), world.clock, Event())
    metadata = {"metricName": "ahead", "targetValue": "100", **metadata}
    ref = ScaledObjectRef(name="web", namespace=namespace, scalerMetadata=metadata)
    request = GetMetricsRequest(scaledObjectRef=ref, metricName=metadata["metricName"])
    code = 200
    try:
        (value,) = servicer.metrics(request, Caller("anonymous", "127.0.0.1")).metricValues
    except Refused as refused:
        code = refused.code
    else:
        own = {v for (place, _), v in world.values.items() if place == namespace}
        assert value.metricValueFloat in {*own, sum(own)}
    assert code in (200, 400, 404, 503)


def test_what_keda_sends_of_its_own_is_ignored(keda: Keda) -> None:
    own = {"enableTLS": "true", "unsafeSsl": "false", "tlsCertFile": "/c.pem", "caCert": "x", "tlsClientKey": "y"}
    assert keda.asking(**own).metrics() == 250.5


def test_the_metric_specs_of_a_stream_are_left_to_keda(port: Port, keda: Keda) -> None:
    call = keda.channel.unary_unary("/externalscaler.ExternalScaler/StreamMetricSpec")
    assert keda.refused(lambda: call(b"", timeout=10))[0] is grpc.StatusCode.UNIMPLEMENTED


def test_a_reload_is_seen_by_the_next_call(
    port: Port, keda: Keda, settings_of: Callable[[str], ScalerSettings]
) -> None:
    rules = "auth: {anonymous: true}\nkeda: {listen: '127.0.0.1:0'}\nmetrics: [{name: new, api: external, query: q}]"
    port.service.apply(settings_of(rules))
    try:
        assert keda.asking(metricName="new").spec() == ("new", 100)
        assert keda.refused(keda.metrics)[0] is grpc.StatusCode.NOT_FOUND
    finally:
        port.service.close()


def test_answers_and_refusals_are_counted_and_audited(port: Port, keda: Keda, logged: list[dict[str, Any]]) -> None:
    keda.metrics()
    keda.is_active()
    keda.refused(keda.asking(metricName="nothing").metrics)
    keda.refused(keda.asking(namespace="empty").metrics)
    keda.refused(keda.asking(targetValue="fast").spec)

    def count(metric: str, code: str) -> float | None:
        labels = {"api": "keda", "metric": metric, "code": code}
        return port.registry.get_sample_value("cloudpulse_scaler_requests_total", labels)

    assert (count("Ahead", "200"), count("", "404"), count("Ahead", "503"), count("Ahead", "400")) == (2, 1, 1, 1)
    assert _histogram(port.registry) == 5
    assert port.registry.get_sample_value("cloudpulse_scaler_value", {"api": "keda", "metric": "Ahead"}) == 250.5
    assert [line["event"] for line in logged].count("refused") == 3
    audit = next(line for line in logged if line["event"] == "answered")
    told = {
        "age_seconds": 20.0,
        "api": "keda",
        "metric": "Ahead",
        "namespace": "demo",
        "object": "scaledobjects/web",
        "source": "forecast:web_rps",
        "user": "anonymous",
        "from": "127.0.0.1",
        "value": 250.5,
    }
    assert told.items() <= audit.items()


def _histogram(registry: CollectorRegistry) -> float | None:
    return registry.get_sample_value("cloudpulse_scaler_request_duration_seconds_count", {"api": "keda"})
