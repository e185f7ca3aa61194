"""Grafana, as its documentation has it: annotations for alerts and predicted crossings, and Grafana Live."""

import json
import re
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
import requests

from alert_bridge import webhook
from alert_bridge.config import AlertBridgeSettings
from alert_bridge.duty import Duty
from alert_bridge.grafana.alerts import GrafanaNotifier
from alert_bridge.grafana.client import Grafana, fitting
from alert_bridge.grafana.crossings import QUERY, Crossings
from alert_bridge.grafana.lines import line
from alert_bridge.grafana.settings import GrafanaSettings
from alert_bridge.notifier import Ack, DeliveryFailed, Message, Notification, Surroundings
from alert_bridge.testing import eventually, webhook_body
from cloudpulse import config
from cloudpulse.config import Secret
from cloudpulse.errors import ConfigError, SourceUnavailable
from cloudpulse.promql import Sample
from cloudpulse.testing import FakeClock

from .services import Service, expect

FIELDS = {"dashboardUID": str, "panelId": int, "time": int, "timeEnd": int, "tags": list, "text": str}
TOKEN = "glsa_secret"


class FakeGrafana(Service):
    """The annotations API and Live's push, with what the documentation says of each request and nothing more."""

    def __init__(self, role="Editor", dashboards=("board",)):
        super().__init__()
        self.role = role
        self.dashboards = dashboards
        self.drawn = {}
        self.pushed = []
        self._last = 0

    def take(self, request):
        expect(request.headers.get("AUTHORIZATION") == f"Bearer {TOKEN}", "a service account's token")
        if request.method != "GET" and self.role == "Viewer":
            return 403, b'{"message": "You\'ll need additional permissions to perform this action"}'
        if request.path.startswith("/api/live/push/"):
            expect(request.method == "POST" and re.fullmatch(r"[\w-]+", request.path.rpartition("/")[2]), "a stream id")
            self.pushed += request.body.decode().split("\n")
            return 200, b""
        if request.path == "/api/annotations":
            return 200, json.dumps(self._find(request) if request.method == "GET" else self._add(request)).encode()
        number = int(re.fullmatch(r"/api/annotations/(\d+)", request.path)[1])
        expect(request.method in ("PATCH", "DELETE"), "PATCH or DELETE")
        if number not in self.drawn:
            return 404, b'{"message": "Annotation not found"}'
        if request.method == "DELETE":
            del self.drawn[number]
        else:
            self.drawn[number] |= self._checked(request.json, ("text", "tags", "time", "timeEnd"))
        return 200, b'{"message": "Annotation patched"}'

    def _find(self, request):
        expect(request.query.get("type") == "annotation" and 0 < int(request.query["limit"]) <= 1000, "type, limit")
        begin, end = int(request.query.get("from", 0)), int(request.query.get("to", 2**62))
        wanted = {value for name, value in parse_qsl(self.query) if name == "tags"}
        return [
            {"id": number, "dashboardUID": None, "alertId": 0, "data": {}, **told}
            for number, told in self.drawn.items()
            if wanted <= set(told["tags"]) and told["time"] <= end and told.get("timeEnd", told["time"]) >= begin
        ]

    def _add(self, request):
        expect(request.method == "POST", "POST")
        told = self._checked(request.json, FIELDS)
        expect(told.get("text"), "text is required")
        expect(told.get("dashboardUID", "board") in self.dashboards, "a dashboard that exists")
        self._last += 1
        self.drawn[self._last] = told
        return {"message": "Annotation added", "id": self._last}

    def _checked(self, told, allowed):
        for name, value in told.items():
            expect(name in allowed and isinstance(value, FIELDS[name]), f"{name}: {value!r}")
        expect(told.get("timeEnd", 2**62) > told.get("time", 0) > 1_500_000_000_000 or "time" not in told, "millis")
        expect(len(json.dumps(told.get("tags", []), ensure_ascii=False, separators=(",", ":"))) <= 500, "tags_length")
        return told

    def shown(self):
        return [told["text"] for told in self.drawn.values()]

    def active(self, text):
        return set(re.findall("<[^>]*>", text))

    def key(self, request):
        return request.path

    def __call__(self, environ, start_response):
        self.query = environ.get("QUERY_STRING", "")
        return super().__call__(environ, start_response)


@pytest.fixture
def grafana(front):
    made = FakeGrafana()
    with made.serving(front):
        yield made
    assert made.wrong == []


def settings(grafana, **more):
    return GrafanaSettings(url=grafana.url, token=Secret(TOKEN), **more)


def notification(*alerts, memory=None, attempt=1, ack=None, annotations=None, **more):
    group = json.loads(webhook_body(*alerts, **more))
    for alert in group["alerts"]:
        alert["annotations"] = annotations or {}
    parsed = webhook.parse(json.dumps(group).encode())
    return Message(Notification(1, "grafana", "key", attempt, 0, 1, parsed, ack, None, memory or {}))


def notifier(grafana, **more):
    return GrafanaNotifier(settings(grafana, **more), Surroundings(FakeClock()))


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("url: 'http://grafana:3000'", "expected exactly one of token and token_file"),
        ("{url: 'http://user:pass@grafana', token: x}", "no user and password in it"),
        ("{url: grafana, token: x}", "expected one such as http://grafana:3000"),
        ("{url: 'http://grafana', token: x, live_stream: a/b}", "live_stream: expected letters"),
        ("{url: 'http://grafana', token: x, name: log}", 'the name "log" is that of `grafana`'),
        ("{url: 'http://grafana', token: x, type: slack}", "unknown key"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_the_reason(lines, problem):
    text = "alert_bridge:\n  grafana: " + (lines if lines[0] == "{" else f"{{{lines}}}")
    with pytest.raises(ConfigError, match=re.escape(problem)) as refused:
        config.parse(text, Path("c.yaml"), {}).section("alert_bridge", AlertBridgeSettings)
    assert "pass" not in str(refused.value).replace("password", "")


def test_an_alert_is_a_line_while_it_fires_and_a_region_when_it_has_ended(grafana):
    draws = notifier(grafana)
    labels = {"severity": "page", "instance": "a:1"}
    memory = draws.send(notification(("a", "firing"), labels=labels, annotations={"summary": "disk <full> & hot"}))
    (told,) = grafana.drawn.values()
    assert told["time"] == 1795444325681
    assert "timeEnd" not in told
    assert told["text"] == "Test: disk &lt;full&gt; &amp; hot"
    assert {"cloudpulse", "alert", "alertname:Test", "severity:page", "instance:a:1"} <= set(told["tags"])
    assert draws.send(notification(("a", "firing"), labels=labels, memory=memory)) == memory  # a reminder
    assert draws.send(notification(("a", "resolved"), labels=labels, memory=memory)) == {}
    assert [told["timeEnd"] for told in grafana.drawn.values()] == [1795446000000]


def test_each_alert_of_a_group_ends_by_itself(grafana):
    draws = notifier(grafana)
    memory = draws.send(notification(("a", "firing"), ("b", "firing")))
    memory = draws.send(notification(("a", "resolved"), ("b", "firing"), memory=memory))
    assert ["timeEnd" in told for told in grafana.drawn.values()] == [True, False]
    assert len(memory) == 1


def test_an_alert_heard_of_only_when_it_ended_is_drawn_whole(grafana):
    notifier(grafana).send(notification(("a", "resolved")))
    (told,) = grafana.drawn.values()
    assert (told["time"], told["timeEnd"]) == (1795444325681, 1795446000000)


def test_a_repeated_attempt_draws_nothing_twice(grafana):
    draws = notifier(grafana)
    grafana.fault = lambda request: (503, {"Retry-After": "7"}) if len(grafana.drawn) == 2 else None
    with pytest.raises(DeliveryFailed) as failed:
        draws.send(notification(("a", "firing"), ("b", "firing"), ("c", "firing")))
    assert (failed.value.retryable, failed.value.retry_after_seconds) == (True, 7)
    grafana.fault = lambda request: None
    memory = draws.send(notification(("a", "firing"), ("b", "firing"), ("c", "firing"), attempt=2))
    assert sorted(memory.values()) == ["1", "2", "3"]
    assert len(grafana.drawn) == 3


def test_an_annotation_that_someone_deleted_is_drawn_again_when_the_alert_ends(grafana):
    draws = notifier(grafana)
    memory = draws.send(notification(("a", "firing")))
    grafana.drawn.clear()
    draws.send(notification(("a", "resolved"), memory=memory))
    assert [told["timeEnd"] for told in grafana.drawn.values()] == [1795446000000]


def test_the_dashboard_that_an_alert_names_is_taken_for_data(grafana):
    draws = notifier(grafana)
    draws.send(notification(("a", "firing"), annotations={"__dashboardUid__": "board", "__panelId__": "7"}))
    draws.send(notification(("b", "firing"), annotations={"dashboard_uid": "../admin", "__panelId__": "7"}))
    draws.send(notification(("c", "firing"), annotations={"dashboard_uid": "board", "__panelId__": "x"}))
    told = list(grafana.drawn.values())
    assert [(one.get("dashboardUID"), one.get("panelId")) for one in told] == [
        ("board", 7), (None, None), ("board", None)]  # fmt: skip


def test_an_alert_of_a_dashboard_that_is_gone_is_drawn_for_all(grafana):
    grafana.fault = lambda request: (404, {}) if b"dashboardUID" in request.body else None
    notifier(grafana).send(notification(("a", "firing"), annotations={"dashboard_uid": "gone"}))
    assert len(grafana.drawn) == 1


def test_a_token_without_the_right_is_retryable_and_not_shown(grafana):
    grafana.role = "Viewer"
    with pytest.raises(DeliveryFailed, match="answered 403") as failed:
        notifier(grafana).send(notification(("a", "firing")))
    assert failed.value.retryable
    assert TOKEN not in str(failed.value)


def test_acks_are_not_drawn_and_forget_nothing(grafana):
    memory = {"k": "1"}
    assert notifier(grafana).send(notification(("a", "firing"), memory=memory, ack=Ack("ann", 1))) == memory
    assert not grafana.requests


def test_a_huge_group_is_drawn_as_far_as_a_graph_can_show(grafana):
    memory = notifier(grafana).send(notification(*[(str(number), "firing") for number in range(80)]))
    assert len(grafana.drawn) == len(memory) == 50


def test_tags_fit_into_what_grafana_keeps():
    tags = fitting("cloudpulse", "", "a  b\n", *(f"label{number}:{'ü' * 200}" for number in range(20)), "z:1")
    assert tags[:2] == ("cloudpulse", "a b")
    assert tags[-1] == "z:1"
    assert all(len(tag) <= 100 for tag in tags)
    assert 300 < len(json.dumps(tags, ensure_ascii=False).encode()) <= 520


def test_alerts_are_pushed_live_and_a_failure_there_costs_nothing(grafana):
    draws = notifier(grafana, live=True)
    draws.send(notification(("a", "firing"), labels={"pod": "a b,c=d"}, annotations={"summary": 'a "b"\\'}))
    assert grafana.pushed == [
        'alerts,alertname=Test,pod=a\\ b\\,c\\=d firing=1i,summary="a \\"b\\"\\\\" 1700000000000000000']  # fmt: skip
    grafana.fault = lambda request: (500, {}) if "live" in request.path else None
    assert draws.send(notification(("b", "firing")))


def test_lines_are_escaped():
    assert line("a b,c", {"k =": "v\\", "empty": "", "line": "1\r\n2"}, {"f": 1.5, "i": 2}, 1.5) == (
        "a\\ b\\,c,k\\ \\==v,line=1\\ 2 f=1.5,i=2i 1500000000")  # fmt: skip


class Predictions:
    """A MetricSource whose only series are times to a threshold."""

    def __init__(self):
        self.seconds = {}
        self.error = None

    def instant(self, query, at=None):
        if self.error:
            raise self.error
        if query != QUERY:
            value = {"__name__": "cloudpulse_forecast_value", "forecast": "cpu", "horizon": "1h", "level": "0.5"}
            return [Sample(value, 0.25), Sample(value | {"forecast": "no"}, float("nan"))]
        labels = {"__name__": "x", "forecast": "cpu", "threshold": "0.9"}
        return [
            Sample(labels | {"instance": instance, "level": level}, value)
            for (instance, level), value in self.seconds.items()
        ]


@pytest.fixture
def predicted(grafana):
    source, clock = Predictions(), FakeClock()
    client = Grafana(settings(grafana), Surroundings(clock))
    return source, clock, Crossings(client, source, clock, draw=True, push=False)


def test_a_predicted_crossing_is_a_region_from_possible_to_likely(grafana, predicted):
    source, _, crossings = predicted
    source.seconds = {("a", "0.9"): 1800, ("a", "0.5"): 3600, ("b", "0.9"): float("inf"), ("c", "0.5"): 0.0}
    crossings.round()
    (told,) = grafana.drawn.values()
    assert (told["time"], told["timeEnd"]) == ((1_700_000_000 + 1800) * 1000, (1_700_000_000 + 3600) * 1000)
    assert told["text"] == (
        "cpu is predicted to cross 0.9: 2023-11-14 22:43 UTC (1 in 10) to 2023-11-14 23:13 UTC (as likely as not). "
        "instance=a")  # fmt: skip
    assert {"cloudpulse", "prediction", "forecast:cpu", "threshold:0.9", "instance:a"} <= set(told["tags"])


def test_it_moves_with_the_prediction_when_that_moves_materially(grafana, predicted):
    source, clock, crossings = predicted
    source.seconds = {("a", "0.5"): 3600}
    crossings.round()
    clock.advance(60)
    source.seconds = {("a", "0.5"): 3600}  # a minute later: no news
    crossings.round()
    assert [told["time"] for told in grafana.drawn.values()] == [(1_700_000_000 + 3600) * 1000]
    source.seconds = {("a", "0.5"): 1800}
    crossings.round()
    assert [told["time"] for told in grafana.drawn.values()] == [(1_700_000_060 + 1800) * 1000]
    assert [request.method for request in grafana.requests].count("PATCH") == 1
    assert "22:44" in grafana.shown()[0]


def test_it_is_removed_when_it_no_longer_holds_and_stays_once_its_time_has_come(grafana, predicted):
    source, clock, crossings = predicted
    source.seconds = {("a", "0.5"): 600, ("b", "0.5"): 3600}
    crossings.round()
    source.seconds = {("a", "0.5"): 600, ("b", "0.5"): float("inf")}
    crossings.round()
    assert len(grafana.drawn) == 1
    clock.advance(700)
    source.seconds = {("a", "0.5"): 0.0}
    crossings.round()
    assert len(grafana.drawn) == 1


def test_without_an_answer_of_prometheus_nothing_changes(grafana, predicted):
    source, _, crossings = predicted
    source.seconds = {("a", "0.5"): 600}
    crossings.round()
    source.error = SourceUnavailable("away")
    with pytest.raises(SourceUnavailable):
        crossings.round()
    assert len(grafana.drawn) == 1


def test_what_was_drawn_twice_is_drawn_once_again(grafana, predicted):
    """As after a crash of one replica while another took over."""
    source, _, crossings = predicted
    source.seconds = {("a", "0.5"): 600}
    crossings.round()
    grafana.drawn[99] = dict(grafana.drawn[1])
    crossings.round()
    assert len(grafana.drawn) == 1


def test_forecasts_are_pushed_live(grafana):
    clock = FakeClock()
    client = Grafana(settings(grafana, live_stream="ours"), Surroundings(clock))
    Crossings(client, Predictions(), clock, draw=False, push=True).round()
    assert grafana.pushed == ["forecasts,forecast=cpu,horizon=1h,level=0.5 value=0.25 1700000000000000000"]
    assert grafana.requests[0].path == "/api/live/push/ours"


def test_of_several_replicas_one_has_a_duty_until_it_falls_silent(database):
    """Each with a clock of its own, which may say anything."""
    clocks = [FakeClock(0), FakeClock(1e9)]
    one, two = (Duty(database, "draw", 100, clock) for clock in clocks)
    assert one.mine()
    for _ in range(5):
        clocks[1].advance(90)
        assert not two.mine()
        assert one.mine()
    clocks[1].advance(90)
    assert not two.mine()
    clocks[1].advance(101)
    assert two.mine()
    assert not one.mine()
    assert two.mine()


def test_a_bridge_draws_every_alert_whatever_the_routes_say(grafana, start_bridge, tmp_path):
    (tmp_path / "token").write_text(TOKEN)
    bridge = start_bridge(f"""
  receivers: [{{name: log, type: log}}]
  routes: [{{match: {{severity: none}}, receivers: [log]}}]
  grafana: {{url: '{grafana.url}', token_file: {tmp_path / "token"}, predictions: false}}
""")
    requests.post(f"{bridge.url}/api/v1/alerts", data=webhook_body(("a", "firing")), timeout=10).raise_for_status()
    eventually(lambda: len(grafana.drawn) == 1)
    listed = requests.get(f"{bridge.url}/api/v1/notifications", timeout=10).json()["notifications"]
    assert {one["receiver"] for one in listed} == {"log", "grafana"}
    assert TOKEN not in bridge.log
