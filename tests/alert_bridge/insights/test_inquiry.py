"""Against a real Prometheus with a given past: what is found out about an alert."""

from __future__ import annotations

import math

import pytest

from alert_bridge.insight import Insight
from alert_bridge.insights.config import InsightSettings
from alert_bridge.insights.inquiry import Inquiry, Slow
from alert_bridge.insights.picture import Painter, Scene
from alert_bridge.webhook import AlertGroup
from cloudpulse.promql import Prometheus
from tests.alert_bridge.insights.surge import API, NOW, WEB, WEIRD, group

HIGH = "shop_requests > 600"


class Canvas(Painter):
    """Keeps the scenes; what they look like is another test's."""

    def __init__(self) -> None:
        self.scenes: list[Scene] = []

    def paint(self, scene: Scene) -> bytes:
        self.scenes.append(scene)
        return b"png"


class Asker:
    """Inquires as of the end of the past."""

    def __init__(self, source: Prometheus) -> None:
        self.source = source
        self.canvas = Canvas()
        self.queries: list[str] = []
        self.now = NOW

    def __call__(self, group: AlertGroup, **settings: object) -> Insight:
        told = [Insight()]
        chosen = InsightSettings(**settings)  # type: ignore[arg-type]  # each test's own
        Inquiry(group, self.source, chosen, self.canvas, self.now, Slow(), lambda: True, told.append).run()
        return told[-1]


@pytest.fixture
def ask(source: Prometheus) -> Asker:
    return Asker(source)


def test_an_alert_that_fires_is_told_with_what_was_expected_and_when_it_ends(ask: Asker) -> None:
    found = ask(group((HIGH, WEB, "a"), (HIGH, API, "b")))
    first, second = found.outlooks
    assert first.fingerprint == "a"
    assert first.expected == "Expected now: 460–540. It is 700, above that."
    assert first.ahead == "Expected back under 600 in 35 min (50 %), almost surely in 50 min (90 %)."
    assert first.trust.startswith(
        "Lately this forecast was 38 % better than repeating the season, an hour ahead; 79 % of values"
    )
    assert found.values == {"a": 700, "b": 50}
    assert second.ahead == second.expected == ""
    assert "not shown" in second.trust


def test_the_picture_has_the_past_the_band_the_threshold_and_the_others(ask: Asker) -> None:
    ask(group((HIGH, WEB, "a"), (HIGH, API, "b")))
    [scene] = ask.canvas.scenes
    assert scene.values[-1] == 700
    assert scene.times[-1] == NOW
    assert scene.limit == 600
    assert scene.ahead is not None
    assert scene.ahead.reach == NOW + 3 * 3600
    assert scene.ahead.values[0].tolist() == [700, 700, 700]
    assert scene.expected is not None
    assert scene.expected.values[-1].tolist() == [460, 500, 540]
    [other] = scene.others
    assert other[-1] == 50
    assert math.isnan(other[75])


def test_a_forecast_worse_than_the_season_is_not_drawn(ask: Asker) -> None:
    ask(group(("shop_requests > 40", API, "b")))
    assert ask.canvas.scenes[0].ahead is None
    assert ask.canvas.scenes[0].values[-1] == 50


def test_a_resolved_alert_has_the_values_of_now(ask: Asker) -> None:
    assert ask(group((HIGH, WEB, "a"), status="resolved")).values == {"a": 700}


def test_an_alert_that_cannot_have_fired_here_is_another_prometheus(ask: Asker) -> None:
    """Its series has the labels of one of ours, which was never that high."""
    found = ask(group(("shop_requests > 800", {**WEB, "cluster": "elsewhere"}, "a")))
    assert (found.values, found.outlooks, found.picture) == ({}, (), None)


def test_only_alerts_of_this_prometheus_are_looked_up(ask: Asker) -> None:
    alerts = group((HIGH, {**WEB, "cluster": "here"}, "a"), (HIGH, {**WEB, "cluster": "there"}, "b"))
    assert ask(alerts, match={"cluster": "here"}).values == {"a": 700}
    assert set(ask(alerts).values) == {"a", "b"}
    assert ask(alerts, match={"cluster": "elsewhere"}) == Insight()


def test_a_threshold_that_is_a_series_is_drawn_as_one(ask: Asker) -> None:
    found = ask(group(("shop_requests > on (app) shop_limit", {"app": "web"}, "a")))
    limit = ask.canvas.scenes[0].limit
    assert not isinstance(limit, float)
    assert limit is not None
    assert limit[-1] == 600
    assert found.outlooks[0].ahead.startswith("Expected back under 600 in 35 min")


AHEAD = """(
  cloudpulse_forecast_value{forecast="demand", horizon="1h", level="0.5"} > 500
  unless on (app) cloudpulse_forecast_mase{forecast="demand", horizon="1h"} > 1.5
)
and on (forecast) cloudpulse_forecast_timestamp_seconds > 300
and on (app) shop_requests"""


def test_an_alert_on_a_forecast_shows_what_it_is_a_forecast_of(ask: Asker) -> None:
    """As prometheus/rules/predictive.yml has it: the source is beside the forecast in the expression."""
    found = ask(group((AHEAD, {**WEB, "forecast": "demand", "horizon": "1h", "level": "0.5"}, "p")))
    assert ask.canvas.scenes[0].values[-1] == 700
    assert ask.canvas.scenes[0].limit == 500
    assert found.outlooks[0].expected == "Expected now: 460–540. It is 700, above that."


def test_an_alert_on_a_crossing_has_its_threshold_from_the_label(ask: Asker) -> None:
    text = (
        'cloudpulse_forecast_time_to_threshold_seconds{forecast="demand",level="0.9"} < 3600 and on (app) shop_requests'
    )
    found = ask(group((text, {**WEB, "forecast": "demand", "threshold": "800", "level": "0.9"}, "p")))
    assert ask.canvas.scenes[0].limit == 800
    assert found.values == {"p": 1800}
    assert found.outlooks[0].ahead == "May cross 800 in 30 min (10 %), but is not expected to within 3 h."


def test_a_forecast_of_something_else_is_not_taken_for_its_own(ask: Asker) -> None:
    """shop_cache_bytes has the labels of a forecast, which is of other values."""
    found = ask(group(("shop_cache_bytes > 2e9", API, "c")))
    assert found.outlooks == ()
    assert ask.canvas.scenes[0].ahead is None


@pytest.mark.parametrize(
    ("expression", "labels"),
    [
        ("shop_requests{app='web' > 5", WEB),
        ("", WEB),
        ("nothing_at_all > 5", WEB),
        ("shop_requests > 600", {"app": "unknown"}),
        ('shop_requests{app=~"("} > 5', WEB),
    ],
)
def test_what_prometheus_does_not_answer_is_not_told(ask: Asker, expression: str, labels: dict[str, str]) -> None:
    found = ask(group((expression, labels, "a")))
    assert found.picture is None
    assert found.values == {}
    assert found.outlooks == ()


def test_an_old_forecast_is_silent(ask: Asker) -> None:
    """Its values are still there, an hour after they were predicted."""
    found = ask(group(("shop_stuck > 600", {**WEB, "stuck": "yes", "forecast": "stuck"}, "a")))
    assert found.values == {"a": 700}
    assert found.outlooks == ()
    assert ask.canvas.scenes[0].ahead is None


def test_labels_are_text_whatever_they_hold(ask: Asker) -> None:
    found = ask(group(("shop_requests < 10", WEIRD, "w"), ("shop_requests > 600", WEB, "a")))
    assert found.values["w"] == 5
    assert ask.canvas.scenes[0].values[-1] == 5


@pytest.mark.parametrize("value", ['x"} or vector(9) #', "x\\", "x\ny", "${1}", "a|.*", "\\E.*", "☃"])
def test_a_label_cannot_change_a_query(ask: Asker, value: str) -> None:
    """Were one not quoted, Prometheus would refuse the query, and the log would say so, or another series be found."""
    found = ask(
        group(("shop_requests > 600", {**WEB, "extra": value}, "a"), ("shop_requests > 0", {"app": value}, "b"))
    )
    assert found.values == {"a": 700}
    assert ask.canvas.scenes[0].ahead is not None


def test_the_most_related_company_comes_first(ask: Asker) -> None:
    company = ask(group((HIGH, WEB, "a"))).company
    assert [one.forecast for one in company] == ["latency", "disk"]
    assert company[0].relation == pytest.approx(1.0)
    assert company[0].score == pytest.approx(2.4)
    assert company[0].labels == {"app": "web", "instance": "10.0.0.1:9100"}
    assert company[1].relation < 0.3


def test_without_expressions_only_the_company_is_asked_for(ask: Asker) -> None:
    found = ask(group((HIGH, WEB, "a")), expressions=False)
    assert found.picture is None
    assert found.values == {}
    assert {one.forecast for one in found.company} == {"demand", "latency", "disk"}


def test_of_thousands_of_alerts_the_first_that_fire_are_looked_at(ask: Asker) -> None:
    many = [(HIGH, {**WEB, "n": str(n)}, f"f{n}") for n in range(5000)]
    found = ask(group(*many))
    assert set(found.values) == {f"f{n}" for n in range(20)}
    assert len(found.outlooks) == 3
