"""What is served of a forecast and of what is measured now: forecasts add capacity, their failure never shrinks it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from cloudpulse.errors import QueryRejected, SourceUnavailable
from cloudpulse.exposition import encode
from cloudpulse.promql import Series
from cloudpulse.testing import FakeClock, FakeSource
from scaler.config import ScalerSettings
from scaler.meters import Meters
from scaler.provider import ALL, Provider
from scaler.question import PART
from scaler.refusal import Refused
from scaler.selector import parse
from scaler.watch import Watch

RULE = "{name: ahead, api: external, forecast: web_rps, horizon: 15m, reactive: rps%s}"
CUSTOM = (
    "{name: ahead, api: custom, forecast: web_rps, reactive: rps, horizon: 15m, resource: {namespace: ns, pod: pod}}"
)
Read = Callable[..., ScalerSettings]


class Stand:
    """A rule over a Prometheus in which series are measured and forecast; ages in seconds."""

    def __init__(self, settings: ScalerSettings) -> None:
        self.clock = FakeClock()
        self.answer: list[Series] = []
        self.source = FakeSource(lambda query: self.answer, self.clock)
        self.watch = Watch(settings.metrics[0], self.source, self.clock)
        self.provider = Provider([self.watch])

    def part(self, part: str, value: float, labels: Mapping[str, str]) -> None:
        now = self.clock.now
        self.answer.append(Series({PART: part, **labels} if part else labels, np.array([now]), np.array([value])))

    def measure(self, value: float, age: float = 5, **labels: str) -> None:
        self.part("", value, {"__name__": "rps", **labels})
        self.part("sampled", self.clock.now - age, labels)

    def predict(
        self, value: float, age: float = 20, mase: float = math.nan, coverage: float = math.nan, **labels: str
    ) -> None:
        own = {"forecast": "web_rps", "job": "forecaster", **labels}
        self.part("forecast", value, {"__name__": "cloudpulse_forecast_value", "horizon": "15m", "level": "0.9", **own})
        self.part("made", self.clock.now - age, own)
        if not math.isnan(mase):
            self.part("mase", mase, {"horizon": "15m", **own})
        if not math.isnan(coverage):
            self.part("coverage", coverage, {"horizon": "15m", "level": "0.9", **own})

    def evaluate(self) -> None:
        self.watch.evaluate()
        self.answer = []

    def served(self, selector: str = "") -> list[tuple[str, float, str]]:
        """Value, age and source of each item."""
        items = self.provider.external("ahead", "demo", parse(selector)).items
        return [(item.quantity, self.clock.now - item.time, item.source) for item in items]

    def refusal(self, selector: str = "") -> Refused:
        with pytest.raises(Refused) as caught:
            self.served(selector)
        return caught.value

    def metrics(self) -> dict[str, float]:
        registry = CollectorRegistry()
        meters = Meters(registry, self.clock)
        meters.show([self.watch])
        lines = encode(registry.collect()).decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
        return {series: float(value) for series, _, value in pairs}


@pytest.fixture
def stand(settings_of: Read) -> Stand:
    return Stand(settings_of(f"metrics: [{RULE % ''}]"))


def test_the_larger_is_served_and_a_forecast_is_as_old_as_the_older(stand: Stand) -> None:
    stand.measure(5, age=3, app="a")
    stand.predict(7, age=40, app="a")
    stand.measure(9, age=20, app="b")
    stand.predict(8, age=50, app="b")
    stand.measure(4, age=60, app="c")
    stand.predict(5, age=10, app="c")
    stand.evaluate()
    assert stand.served() == [("7", 40, "forecast"), ("9", 20, "reactive"), ("5", 60, "forecast")]
    assert stand.watch.fallbacks() == {}


@pytest.mark.parametrize(
    ("forecast", "reason"),
    [
        ({"value": 7, "age": 121}, "stale"),
        ({"value": 7, "age": -300}, "stale"),
        ({"value": math.nan}, "invalid"),
        ({"value": math.inf}, "invalid"),
        ({"value": 1e17}, "invalid"),
        ({"value": -1}, "invalid"),
        ({"value": 7, "mase": 1.5}, "accuracy"),
        ({"value": 7, "coverage": 0.5}, "coverage"),
        (None, "missing"),
    ],
)
def test_a_forecast_that_can_not_be_used_falls_back_and_is_counted(
    stand: Stand, forecast: dict[str, float] | None, reason: str
) -> None:
    for _ in range(2):
        stand.measure(5, app="a")
        if forecast:
            stand.predict(**forecast, app="a")  # type: ignore[arg-type]  numbers and one label
        stand.measure(1, app="b")
        stand.predict(2, app="b")
        stand.evaluate()
    assert stand.served() == [("5", 5, "reactive"), ("2", 20, "forecast")]
    assert stand.metrics()[f'cloudpulse_scaler_fallback_total{{metric="ahead",reason="{reason}"}}'] == 2
    assert f"is not used for 1 of 2 series ({reason} 1)" in stand.watch.notes()[-1]
    assert stand.watch.problem() == ""


def test_the_gate_shuts_stays_shut_in_its_band_and_opens_again(stand: Stand) -> None:
    seen = []
    for mase in (0.8, 1.3, 1.1, 1.0, math.nan, 0.9, 1.1):
        stand.measure(5)
        stand.predict(7, mase=mase)
        stand.evaluate()
        seen.append(stand.served()[0][0])
        assert stand.metrics()['cloudpulse_scaler_gated_series{metric="ahead",kind=""}'] == (seen[-1] == "5")
    assert seen == ["7", "5", "5", "5", "5", "7", "7"]


def test_a_forecast_alone_is_not_served(stand: Stand) -> None:
    stand.predict(7, app="a")
    stand.evaluate()
    refused = stand.refusal()
    assert refused.code == 503
    assert "nothing is measured now, and a forecast alone could shrink the service" in refused.message
    assert "nothing is measured now" in stand.watch.problem()


def test_a_forecast_alone_adds_to_a_sum_and_stands_for_no_series(stand: Stand) -> None:
    stand.measure(5, app="a")
    stand.predict(6, app="a")
    stand.predict(7, app="b")
    stand.predict(8, age=500, app="c")
    stand.evaluate()
    assert [value for value, _, _ in stand.served()] == ["6", "7"]
    assert stand.refusal("app=b").code == 503
    assert stand.refusal("app=c").code == 404


@pytest.mark.parametrize(
    ("measured", "forecast", "total"),
    [
        ("abc", "abc", 330),
        ("ade", "abc", 310),  # two of three pods are replaced: what is measured is all there is
        ("ad", "abc", 320),  # and one that is missing
        ("a", "abc", 330),  # two that are missing
        ("abcd", "abc", 430),  # one more than before
        ("adef", "abc", 410),
    ],
)
def test_forecasts_alone_stand_only_for_as_many_series_as_are_missing(
    stand: Stand, measured: str, forecast: str, total: float
) -> None:
    for pod in measured:
        stand.measure(100, pod=pod)
    for pod in forecast:
        stand.predict(110, pod=pod)
    stand.evaluate()
    assert stand.provider.external("ahead", "demo").total == total


def test_series_are_missing_in_their_own_namespace(settings_of: Read) -> None:
    stand = Stand(settings_of(f"metrics: [{RULE % ', resource: {namespace: ns}'}]"))
    for ns, pod in (("one", "a"), ("one", "new"), ("two", "a")):
        stand.measure(100, ns=ns, pod=pod)
    for ns, pod, value in (("one", "a", 110), ("one", "old", 120), ("two", "a", 110), ("two", "b", 130)):
        stand.predict(value, ns=ns, pod=pod)
    stand.evaluate()
    assert [stand.provider.external("ahead", ns).total for ns in ("one", "two")] == [210, 240]


def test_a_missing_series_counts_once_and_the_highest_that_can_be_used_stands_for_it(stand: Stand) -> None:
    """Two forecasters; `c` is replaced by `d`."""
    stand.measure(100, pod="a")
    stand.measure(100, pod="d")
    for instance, more in (("forecaster-1", 0), ("forecaster-2", 5)):
        for pod, value, age in (("a", 110, 20), ("b", 120, 20), ("c", 130, 20), ("old", 900, 500)):
            stand.predict(value + more, pod=pod, instance=instance, age=age)
    stand.evaluate()
    assert stand.provider.external("ahead", "demo").total == 115 + 100 + 135


def test_a_forecast_alone_stands_for_no_object(settings_of: Read) -> None:
    stand = Stand(settings_of(f"metrics: [{CUSTOM}]"))
    stand.measure(5, ns="one", pod="web-1")
    stand.predict(6, ns="one", pod="web-1")
    stand.predict(7, ns="one", pod="web-2")
    stand.evaluate()
    answer = stand.provider.custom("ahead", "pods", "one", ALL)
    assert (list(answer.objects), answer.total) == (["web-1"], 6)
    with pytest.raises(Refused) as caught:
        stand.provider.custom("ahead", "pods", "one", "web-2")
    assert caught.value.code == 404


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, 1e17])
def test_a_measured_value_that_can_not_be_meant_refuses_though_there_is_a_forecast(stand: Stand, value: float) -> None:
    stand.measure(value, app="a")
    stand.predict(7, app="a")
    stand.measure(1, app="b")
    stand.evaluate()
    assert stand.refusal().code == 503
    assert stand.served("app=b") == [("1", 5, "reactive")]


def test_a_stale_measured_value_refuses_though_there_is_a_forecast(stand: Stand) -> None:
    stand.measure(5, age=130)
    stand.predict(7)
    stand.evaluate()
    assert "the value is from 2m10s ago" in stand.refusal().message


def test_prometheus_away_is_served_until_max_age_of_the_older(stand: Stand) -> None:
    stand.measure(5, age=5)
    stand.predict(7, age=60)
    stand.evaluate()
    stand.source.error = SourceUnavailable("away")
    stand.clock.advance(60)
    stand.evaluate()
    assert stand.served() == [("7", 120, "forecast")]
    stand.clock.advance(1)
    assert "Prometheus can't be reached" in stand.refusal().message


def test_a_forecast_that_ends_before_the_next_evaluation_refuses_no_measured_value(stand: Stand) -> None:
    """A forecast each 2 minutes, evaluated each 15 s, asked for each second: measured values are always served."""
    start = stand.clock.now
    sources = set()
    for second in range(600):
        stand.clock.now = start + second
        if second % 15 == 0:
            stand.measure(5, age=5, app="a")
            stand.predict(7, age=second % 120 + 5, app="a")
            stand.measure(9, age=5, app="b")
            stand.predict(8, age=second % 120 + 5, app="b")
            stand.evaluate()
        (_, _, source), other = stand.served()
        sources.add(source)
        assert other[1] <= 20  # as old as what is served, and not as the lower forecast
    assert sources == {"forecast", "reactive"}


def test_a_slow_prometheus_makes_the_next_evaluation_later(stand: Stand) -> None:
    stand.measure(5)
    stand.predict(7, age=100)
    answer = stand.source.samples

    def slowly(query: str) -> list[Series]:
        if PART in query:
            stand.clock.advance(3)
        return answer(query)

    stand.source.samples = slowly
    stand.evaluate()  # the next answer would be there after 3 + 15 + 3 s
    assert stand.served()[0][2] == "reactive"


def test_bounds_hold_the_larger(settings_of: Read) -> None:
    stand = Stand(settings_of(f"metrics: [{RULE % ', clamp: {min: 2, max: 6}'}]"))
    for measured, forecast, expected in ((5, 7, "6"), (1, -3, "2"), (9, 1, "6")):
        stand.measure(measured)
        stand.predict(forecast)
        stand.evaluate()
        assert stand.served()[0][0] == expected


def test_labels_are_those_of_what_is_measured_with_and_without_a_forecast(stand: Stand) -> None:
    for predicted in (True, False):
        stand.measure(5, app="a", instance="host-1")
        if predicted:
            stand.predict(7, app="a", instance="host-1", zone="added by a relabelling")
        stand.evaluate()
        (item,) = stand.provider.external("ahead", "demo").items
        assert item.labels == {"app": "a", "instance": "host-1"}


def test_series_are_matched_where_the_scrape_hides_their_labels(stand: Stand) -> None:
    """Without `honor_labels` the source's `job` is `exported_job` on the forecast."""
    stand.measure(5, job="web", app="a")
    stand.predict(7, job="forecaster", exported_job="web", app="a")
    stand.evaluate()
    assert stand.served() == [("7", 20, "forecast")]


def test_a_forecast_belongs_to_its_source_and_not_to_where_the_forecaster_runs(settings_of: Read) -> None:
    """Without `honor_labels`, the forecaster's own namespace is on every forecast, and may be measured, too."""
    stand = Stand(settings_of(f"metrics: [{RULE % ', resource: {namespace: namespace}'}]"))
    stand.measure(100, namespace="shop")
    stand.measure(8, namespace="monitoring")
    for value, source in ((500, "shop"), (10, "monitoring"), (50, "gone")):
        stand.predict(value, namespace="monitoring", exported_namespace=source)
    stand.evaluate()
    totals = {one: stand.provider.external("ahead", one).total for one in ("shop", "monitoring")}
    assert totals == {"shop": 500, "monitoring": 10}


def test_a_source_with_exported_labels_of_its_own_is_matched(stand: Stand) -> None:
    """As kube-state-metrics often is scraped; with `honor_labels` first, and then without."""
    stand.measure(5, job="a", exported_job="b")
    stand.measure(6, job="b", exported_job="b")
    stand.predict(7, job="a", exported_job="b")
    stand.predict(8, job="b", exported_job="b")
    stand.evaluate()
    assert [value for value, _, _ in stand.served()] == ["7", "8"]
    stand.measure(5, job="a", exported_job="b")
    stand.measure(6, job="b", exported_job="b")
    stand.predict(7, job="forecaster", exported_job="b", exported_exported_job="a")
    stand.predict(8, job="forecaster", exported_job="b", exported_exported_job="b")
    stand.evaluate()
    assert [value for value, _, _ in stand.served()] == ["7", "8"]


def test_a_forecast_of_other_labels_is_not_added_twice(stand: Stand) -> None:
    stand.measure(5, service="a")
    stand.predict(7, app="a")
    stand.evaluate()
    assert stand.served() == [("5", 5, "reactive")]
    assert "no series of the forecast has the labels of what is measured" in stand.watch.notes()[0]


def test_of_two_forecasters_the_higher_counts_once(stand: Stand) -> None:
    stand.measure(5, app="a")
    stand.predict(6, app="a", instance="forecaster-1")
    stand.predict(7, app="a", instance="forecaster-2")
    stand.predict(99, age=500, app="a", instance="forecaster-3")
    stand.evaluate()
    assert stand.served() == [("7", 20, "forecast")]


def test_without_a_floor_the_forecast_is_served_below_what_is_measured(settings_of: Read) -> None:
    stand = Stand(settings_of(f"metrics: [{RULE % ', floor: none'}]"))
    stand.measure(9, app="a")
    stand.predict(7, app="a")
    stand.measure(9, app="b")
    stand.predict(7, age=500, app="b")
    stand.predict(3, app="c")
    stand.evaluate()
    assert [value for value, _, _ in stand.served()] == ["7", "9", "3"]
    assert stand.watch.fallbacks() == {"stale": 1}
    stand.predict(3, app="c")
    stand.evaluate()
    assert stand.served() == [("3", 20, "forecast")]


def test_without_a_floor_a_shut_gate_with_nothing_measured_refuses(settings_of: Read) -> None:
    stand = Stand(settings_of("metrics: [{name: ahead, api: external, forecast: web_rps, horizon: 15m, floor: none}]"))
    stand.predict(7, mase=3)
    stand.evaluate()
    assert "not good enough to be used by its accuracy" in stand.refusal().message


def test_shadow_serves_what_is_measured_and_shows_what_it_would(settings_of: Read) -> None:
    stand = Stand(settings_of(f"metrics: [{RULE % ', mode: shadow'}]"))
    stand.measure(5, app="a")
    stand.predict(7, app="a")
    stand.measure(4, app="b")
    stand.predict(2, app="b")
    stand.evaluate()
    assert stand.served() == [("5", 5, "reactive"), ("4", 5, "reactive")]
    shown = stand.metrics()
    parts = {
        p: shown[f'cloudpulse_scaler_part_value{{metric="ahead",kind="",part="{p}"}}']
        for p in ("measured", "forecast", "ahead")
    }
    assert parts == {"measured": 9, "forecast": 9, "ahead": 11}
    assert shown['cloudpulse_scaler_horizon_seconds{metric="ahead",kind=""}'] == 900
    assert shown['cloudpulse_scaler_series{metric="ahead",kind=""}'] == 2


def test_a_horizon_that_is_not_exported_is_said_and_what_is_measured_is_served(settings_of: Read) -> None:
    stand = Stand(settings_of(f"metrics: [{RULE.replace('15m', '20m') % ''}]"))
    stand.measure(5)
    stand.predict(7)
    stand.evaluate()
    assert "has no horizon 20m, only 15m: choose one of them" in stand.watch.notes()[0]
    assert "cloudpulse_forecast" not in stand.source.asked[1]
    alone = Stand(settings_of("metrics: [{name: ahead, api: external, forecast: web_rps, horizon: 20m, floor: none}]"))
    alone.predict(7)
    alone.evaluate()
    alone.evaluate()
    assert "has no horizon 20m, only 15m" not in alone.refusal().message
    assert "Prometheus has no forecast web_rps now" in alone.refusal().message


class Refusing:
    """Has `stand`'s Prometheus refuse the queries that hold `words`; "" refuses none."""

    def __init__(self, stand: Stand, words: str) -> None:
        self.words = words
        self.answer = stand.source.samples
        stand.source.samples = self

    def __call__(self, query: str) -> list[Series]:
        if self.words and self.words in query:
            raise QueryRejected("query processing would load too many samples into memory")
        return [one for one in self.answer(query) if "forecast" in query or not one.labels.get(PART)]


@pytest.mark.parametrize("words", ["group by", "label_replace(cloudpulse_forecast_value"])
def test_a_forecast_that_can_not_be_asked_for_leaves_what_is_measured(settings_of: Read, words: str) -> None:
    stand = Stand(settings_of(f"metrics: [{RULE.replace('rps', 'sum(rps)').replace('web_sum(rps)', 'web_rps') % ''}]"))
    prometheus = Refusing(stand, words)
    for times in range(1, 4):
        stand.measure(5)
        stand.predict(7)
        stand.evaluate()
        assert stand.served() == [("5", 0, "reactive")]
        assert stand.watch.fallbacks() == {"missing": times}
    assert "forecast web_rps" in stand.watch.notes()[0]
    prometheus.words = ""
    stand.measure(5)
    stand.predict(7)
    stand.evaluate()
    assert stand.served() == [("7", 20, "forecast")]
    assert stand.watch.notes() == []


def test_a_look_up_that_fails_keeps_the_last_choice(stand: Stand) -> None:
    prometheus = Refusing(stand, "")
    for words in ("", "group by"):
        prometheus.words = words
        stand.measure(5)
        stand.predict(7)
        stand.evaluate()
        assert stand.served() == [("7", 20, "forecast")]
        stand.clock.advance(300)
    assert "what forecast web_rps exports can't be looked up now" in stand.watch.notes()[0]


@pytest.mark.parametrize("words", ["group by", "label_replace(cloudpulse_forecast_value", "rps"])
def test_without_a_floor_a_forecast_that_can_not_be_asked_for_is_an_error(settings_of: Read, words: str) -> None:
    stand = Stand(settings_of(f"metrics: [{RULE % ', floor: none'}]"))
    Refusing(stand, words)
    stand.measure(5)
    stand.predict(7)
    stand.evaluate()
    assert "Prometheus refuses the rule's query" in stand.refusal().message


_VALUES = st.sampled_from([math.nan, math.inf, -3.0, 0.0, 1e17]) | st.floats(0, 1e6)
_AGES = st.sampled_from([0.0, 60.0, 119.0, 200.0])
_FORECASTS = st.none() | st.tuples(_VALUES, _AGES, st.sampled_from([math.nan, 0.5, 1.1, 2.0]))


@given(st.lists(st.tuples(st.none() | st.tuples(_VALUES, _AGES), _FORECASTS), max_size=6))
def test_never_less_than_what_is_measured_and_nothing_where_that_is_nothing(
    settings_of: Read, series: list[tuple[tuple[float, float] | None, tuple[float, float, float] | None]]
) -> None:
    """The law, against the same series without any forecast."""
    both, alone = (Stand(settings_of(f"metrics: [{RULE % ''}]")) for _ in range(2))
    for i, (measured, forecast) in enumerate(series):
        for stand in (both, alone):
            if measured:
                stand.measure(*measured, app=str(i))
        if forecast:
            both.predict(forecast[0], forecast[1], mase=forecast[2], app=str(i))
    for stand in (both, alone):
        stand.evaluate()
    for selector in ("", *(f"app={i}" for i in range(len(series)))):
        try:
            least = alone.provider.external("ahead", "demo", parse(selector)).total
        except Refused:
            assert both.refusal(selector).code in (404, 503)
            continue
        answer = both.provider.external("ahead", "demo", parse(selector))
        assert answer.total >= least
        assert all(both.clock.now - item.time <= 120 for item in answer.items)
        assert all(0 <= item.value <= 2**53 for item in answer.items)
