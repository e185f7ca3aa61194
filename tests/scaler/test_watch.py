"""One rule under watch: absent beats wrong."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from cloudpulse.errors import AnswerUnusable, QueryRejected, SourceUnavailable
from cloudpulse.promql import Series
from cloudpulse.testing import FakeClock, FakeSource
from scaler.config import ScalerSettings
from scaler.provider import Answer, Provider
from scaler.refusal import Refused
from scaler.watch import Watch

FORECAST = "metrics: [{name: ahead, api: external, forecast: web_rps, floor: none, horizon: 15m}]"
Samples = Callable[..., list[Series]]


class Stand:
    """A rule, what Prometheus has for it, and the clock."""

    def __init__(self, settings: ScalerSettings) -> None:
        self.clock = FakeClock()
        self.series: list[Series] = []
        self.source = FakeSource(lambda query: self.series, self.clock)
        self.watch = Watch(settings.metrics[0], self.source, self.clock)
        self.provider = Provider([self.watch])

    def evaluate(self, series: list[Series]) -> None:
        self.series = series
        self.watch.evaluate()

    def answer(self) -> Answer:
        return self.provider.external("ahead", "demo")

    def refusal(self) -> Refused:
        with pytest.raises(Refused) as caught:
            self.answer()
        return caught.value


@pytest.fixture
def stand(settings_of: Callable[[str], ScalerSettings]) -> Stand:
    return Stand(settings_of(FORECAST))


def test_one_query_asks_for_the_value_and_when_it_was_made(stand: Stand, forecast: Samples) -> None:
    stand.evaluate(forecast(42.0, stand.clock.now, stand.clock.now - 50))
    exported, question = stand.source.asked
    assert exported == 'group by (horizon, level) (cloudpulse_forecast_value{forecast="web_rps"})'
    value = 'cloudpulse_forecast_value{forecast="web_rps",horizon="15m",level="0.9"}'
    assert question.startswith(f'label_replace({value}, "cloudpulse_part", "forecast", "", "")\nor label_replace(')
    assert 'label_replace(cloudpulse_forecast_timestamp_seconds{forecast="web_rps"}, "cloudpulse_part"' in question
    (item,) = stand.answer().items
    assert (item.quantity, item.time) == ("42", stand.clock.now - 50)


def test_a_forecast_is_as_old_as_its_making_however_fresh_its_scrape(stand: Stand, forecast: Samples) -> None:
    stand.evaluate(forecast(42.0, stand.clock.now, stand.clock.now - 121))
    refused = stand.refusal()
    assert refused.code == 503
    assert "forecast web_rps was made 2m1s ago, more than max_age 2m" in refused.message


def test_a_value_is_served_until_max_age_when_prometheus_is_away(stand: Stand, forecast: Samples) -> None:
    stand.evaluate(forecast(42.0, stand.clock.now, stand.clock.now))
    stand.source.error = SourceUnavailable("http://user:secret@prometheus:9090 is not reached")
    stand.clock.advance(120)
    stand.watch.evaluate()
    assert stand.answer().items[0].value == 42.0
    stand.clock.advance(1)
    refused = stand.refusal()
    assert refused.code == 503
    assert "Prometheus can't be reached" in refused.message
    assert "secret" not in refused.message


def test_comes_back_by_itself(stand: Stand, forecast: Samples) -> None:
    stand.source.error = SourceUnavailable("away")
    stand.watch.evaluate()
    assert "no value yet" in stand.refusal().message
    stand.source.error = None
    stand.evaluate(forecast(1.0, stand.clock.now, stand.clock.now))
    assert stand.answer().items[0].quantity == "1"
    assert stand.watch.problem() == ""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (QueryRejected("parse error"), "refuses the rule's query"),
        (AnswerUnusable("a scalar"), "answers no series"),
        (RuntimeError("a bug"), "can't be evaluated"),
    ],
)
def test_a_failing_rule_says_why_and_goes_on(stand: Stand, error: Exception, words: str) -> None:
    stand.source.error = error  # type: ignore[assignment]  any exception is what is tested
    stand.watch.evaluate()
    refused = stand.refusal()
    assert refused.code == 503
    assert words in refused.message


def test_a_series_that_is_gone_is_gone(stand: Stand, forecast: Samples) -> None:
    stand.evaluate(forecast(42.0, stand.clock.now, stand.clock.now))
    stand.evaluate([])
    assert stand.refusal().code == 404


def test_an_empty_answer_grows_old_too(stand: Stand) -> None:
    stand.evaluate([])
    stand.clock.advance(121)
    assert stand.refusal().code == 503


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e16, -1.0])
def test_a_value_that_can_not_be_meant_is_refused(stand: Stand, forecast: Samples, value: float) -> None:
    stand.evaluate(forecast(value, stand.clock.now, stand.clock.now))
    assert stand.refusal().code == 503


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e16])
def test_clamp_does_not_make_a_number_of_what_is_none(
    settings_of: Callable[[str], ScalerSettings], forecast: Samples, value: float
) -> None:
    stand = Stand(settings_of(FORECAST.replace("15m", "15m, clamp: {min: 0, max: 100}")))
    stand.evaluate(forecast(value, stand.clock.now, stand.clock.now))
    assert stand.refusal().code == 503
    stand.evaluate(forecast(250.0, stand.clock.now, stand.clock.now))
    assert stand.answer().items[0].quantity == "100"


def test_one_bad_series_spoils_the_sum(stand: Stand, forecast: Samples) -> None:
    now = stand.clock.now
    stand.evaluate([*forecast(5.0, now, now, app="a"), *forecast(math.nan, now, now, app="b")])
    assert 'app="b"' in stand.refusal().message
    assert 'app="b"' not in stand.watch.problem()  # shown on /health, to everyone
    stand.evaluate([*forecast(5.0, now, now, app="a"), *forecast(5.0, now, now - 500, app="b")])
    assert "8m20s ago" in stand.refusal().message
    stand.evaluate([*forecast(5e15, now, now, app="a"), *forecast(5e15, now, now, app="b")])
    assert "sum 1e+16" in stand.refusal().message


def test_each_series_has_its_own_time(stand: Stand, forecast: Samples) -> None:
    now = stand.clock.now
    stand.evaluate([*forecast(1.0, now, now - 10, app="a"), *forecast(2.0, now, now - 70, app="b")])
    assert [now - item.time for item in stand.answer().items] == [10, 70]


def test_without_a_fitting_time_the_oldest_counts(stand: Stand, forecast: Samples) -> None:
    """Under `honor_labels` a forecast's own `instance` hides the scrape's, which the time has."""
    now = stand.clock.now
    value, _ = forecast(1.0, now, now, instance="host-1")
    times = [forecast(0.0, now, now - age, instance="forecaster:9811", shard=str(age))[1] for age in (5, 60, 20)]
    stand.evaluate([value, *times])
    assert now - stand.answer().items[0].time == 60


def test_a_value_without_any_time_is_refused(stand: Stand, forecast: Samples) -> None:
    stand.evaluate(forecast(1.0, stand.clock.now, stand.clock.now)[:1])
    assert "how old its values are is not known" in stand.refusal().message


def test_a_value_from_the_future_is_refused(stand: Stand, forecast: Samples) -> None:
    stand.evaluate(forecast(1.0, stand.clock.now, stand.clock.now + 500))
    assert "clocks" in stand.refusal().message


def test_a_plain_selector_is_as_old_as_its_sample(
    settings_of: Callable[[str], ScalerSettings], sampled: Samples
) -> None:
    stand = Stand(settings_of("""metrics: [{name: ahead, api: external, query: 'm{a="}",b=~"x|y"}'}]"""))
    stand.evaluate(sampled(7.0, stand.clock.now - 100, app="a"))
    assert stand.source.asked[0].startswith('m{a="}",b=~"x|y"}\nor label_replace(timestamp(m{a="}"')
    assert stand.clock.now - stand.answer().items[0].time == 100
    assert stand.answer().items[0].labels == {"app": "a"}
    stand.evaluate(sampled(7.0, stand.clock.now - 130, app="a"))
    assert "the value is from 2m10s ago" in stand.refusal().message


def test_an_expression_is_as_old_as_its_evaluation(
    settings_of: Callable[[str], ScalerSettings], sample: Callable[..., Series]
) -> None:
    stand = Stand(settings_of("metrics: [{name: ahead, api: external, query: 'sum(rate(m[5m]))'}]"))
    stand.evaluate([sample(7.0, stand.clock.now)])
    assert stand.source.asked == ["sum(rate(m[5m]))"]
    stand.clock.advance(121)
    assert stand.refusal().code == 503
