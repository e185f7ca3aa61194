"""The service in front: its deadline, its silence, its memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from alert_bridge.insight import NOTHING
from alert_bridge.insights import service
from alert_bridge.insights.config import InsightSettings
from alert_bridge.insights.service import PrometheusInsights
from alert_bridge.testing import eventually
from cloudpulse import trace
from cloudpulse.errors import QueryTimeout, SourceError, SourceUnavailable
from cloudpulse.promql import Sample, Series
from tests.alert_bridge.insights.surge import WEB, group


class Source:
    """Answers 7 to everything, as `act` lets it."""

    def __init__(self) -> None:
        self.act: Callable[[str], None] = lambda _: None
        self.asked: list[str] = []

    def instant(self, query: str, at: float | None = None) -> list[Sample]:
        self.asked.append(query)
        self.act(query)
        return [Sample({}, 7.0)] if "bottomk" not in query else []

    def range(self, query: str, start: float, end: float, step: float) -> list[Series]:
        self.asked.append(query)
        self.act(query)
        return []


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def insights(source: Source) -> Iterator[PrometheusInsights]:
    made = PrometheusInsights(source, InsightSettings())
    made.start()
    yield made
    source.act = lambda _: None
    made.stop()


def count(insights: PrometheusInsights, result: str) -> float:
    return insights.registry.get_sample_value("cloudpulse_alert_bridge_insights_total", {"result": result}) or 0.0


def one(name: str = "a"):
    return group(("up > 5", {**WEB, "n": name}, name))


def test_several_receivers_ask_once(insights: PrometheusInsights, source: Source) -> None:
    assert insights.of(one()).values == {"a": 7.0}
    asked = len(source.asked)
    assert insights.of(one()).values == {"a": 7.0}
    assert len(source.asked) == asked
    assert (count(insights, "found"), count(insights, "kept")) == (1, 1)


def test_what_is_asked_belongs_to_the_delivery_that_it_is_for(insights: PrometheusInsights, source: Source) -> None:
    place, seen = trace.begun(), set()
    source.act = lambda _: seen.add(trace.current())
    with trace.within(place):
        insights.of(one())
    assert seen == {place}
    insights.of(one("b"))
    assert seen == {place, None}


def test_another_state_of_the_group_is_asked_for_anew(insights: PrometheusInsights, source: Source) -> None:
    insights.of(one())
    asked = len(source.asked)
    insights.of(group(("up > 5", {**WEB, "n": "a"}, "a"), status="resolved"))
    assert len(source.asked) > asked


def test_at_the_deadline_what_is_known_is_told(
    insights: PrometheusInsights, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The values come first; the company hangs."""
    monkeypatch.setattr(service, "DEADLINE_SECONDS", 0.5)
    going = threading.Event()
    source.act = lambda query: going.wait(20) and None if "anomaly" in query else None
    assert insights.of(one()).values == {"a": 7.0}
    assert count(insights, "late") == 1
    assert insights.of(one()).values == {"a": 7.0}  # and nobody else waits
    assert count(insights, "late") == 1
    going.set()


def test_a_storm_is_turned_away_at_once(insights: PrometheusInsights, source: Source) -> None:
    going = threading.Event()
    source.act = lambda _: going.wait(20) and None
    room = service.WORKERS + service.WAITING
    threads = [threading.Thread(target=insights.of, args=(one(str(n)),)) for n in range(room)]
    for thread in threads[: service.WORKERS]:
        thread.start()
    eventually(lambda: len(source.asked) == service.WORKERS)
    for thread in threads[service.WORKERS :]:
        thread.start()
    eventually(insights._jobs.full)
    assert insights.of(one("more")) == NOTHING
    assert count(insights, "shed") == 1
    going.set()
    for thread in threads:
        thread.join()
    assert insights.of(one("more")).values == {"more": 7.0}


def unavailable(_: str) -> None:
    raise SourceUnavailable("down")


def test_prometheus_away_is_asked_no_more_until_it_answers_a_trial(
    insights: PrometheusInsights, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.act = unavailable
    for n in range(service.FAILURES):
        assert insights.of(one(str(n))) == NOTHING
    asked = len(source.asked)
    assert insights.of(one("x")) == NOTHING
    assert len(source.asked) == asked
    assert count(insights, "paused") == 1
    source.act = lambda _: None
    insights._trial_at = 0.0
    insights.of(one("x"))
    eventually(lambda: insights._failures == 0)
    assert insights.of(one("x")).values == {"x": 7.0}


def test_a_slow_expression_is_not_taken_for_a_prometheus_that_is_away(
    insights: PrometheusInsights, source: Source
) -> None:
    def slow(query: str) -> None:
        if "up" in query:
            raise QueryTimeout("slow")

    source.act = slow
    for n in range(service.FAILURES + 1):
        insights.of(one(str(n)))
    assert count(insights, "paused") == 0
    assert sum("up" in query for query in source.asked) == 1  # and it isn't asked again for a while


def test_it_never_raises(insights: PrometheusInsights, source: Source) -> None:
    def broken(_: str) -> None:
        raise RuntimeError("a bug")

    source.act = broken
    assert insights.of(one()) == NOTHING

    def refused(_: str) -> None:
        raise SourceError("no")

    source.act = refused
    assert insights.of(one("b")) == NOTHING
    assert count(insights, "nothing") == 2


def test_stop_does_not_wait_for_what_hangs(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "STOP_SECONDS", 0.1)
    made = PrometheusInsights(source, InsightSettings())
    made.start()
    going = threading.Event()
    source.act = lambda _: going.wait(60) and None
    thread = threading.Thread(target=made.of, args=(one(),))
    thread.start()
    eventually(lambda: bool(source.asked))
    began = time.monotonic()
    made.stop()
    assert made.of(one("late")) == NOTHING
    assert time.monotonic() - began < 30  # it would be 60
    going.set()
    thread.join()
    monkeypatch.undo()
    made.stop()
