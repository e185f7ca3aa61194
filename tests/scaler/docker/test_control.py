"""Decisions on one service: what is changed, what prevents it, and what is said of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from cloudpulse import audit
from cloudpulse.testing import FakeClock, captured_logs
from scaler.config import ScalerSettings
from scaler.docker.control import Control
from scaler.docker.engine import ChangedMeanwhile, EngineError, EngineUnavailable
from scaler.docker.meters import Meters
from scaler.docker.workload import Replicas
from scaler.evaluation import Item
from scaler.provider import Answer
from scaler.refusal import unavailable
from scaler.selector import Selector

Read = Callable[[str], ScalerSettings]
METRICS = (
    "metrics: [{name: Ahead, api: external, forecast: web_rps, horizon: 15m, floor: none}]\nauth: {anonymous: true}\n"
)


class FakeWorkload:
    """Replicas that are ready at once; `error` is raised by every call, `failure` by changes only."""

    def __init__(self, wanted: int, ready: int | None = None) -> None:
        self.wanted, self.ready, self.held, self.problem = wanted, ready, "", ""
        self.error: EngineError | None = None
        self.failure: EngineError | None = None
        self.changes: list[tuple[int, int]] = []

    def read(self) -> Replicas:
        if self.error is not None:
            raise self.error
        return Replicas(self.wanted, self.wanted if self.ready is None else self.ready, self.held, self.problem)

    def scale(self, seen: int, replicas: int) -> None:
        if self.failure is not None:
            raise self.failure
        self.changes.append((seen, replicas))
        self.wanted = replicas

    def close(self) -> None:
        """Nothing to close."""


class Bench:
    """A Control over a fake workload, a metric of which `load` is the value, and what it has said."""

    def __init__(self, settings: ScalerSettings, workload: FakeWorkload, dry_run: bool = False) -> None:
        assert settings.docker is not None
        self.clock, self.ticks = FakeClock(), FakeClock(0.0)
        self.workload, self.registry = workload, CollectorRegistry()
        self.load: float | Exception = 0.0
        self.rule = settings.metrics[0]
        (service,) = settings.docker.services
        meters = Meters(self.registry)
        turn = threading.Lock()
        self.control = Control(service, workload, self.ask, meters, self.clock, self.ticks, turn, dry_run=dry_run)

    def ask(self, metric: str, series: Selector) -> Answer:
        assert (metric, str(series)) == ("ahead", "app=web")
        if isinstance(self.load, Exception):
            raise self.load
        return Answer(
            self.rule, [Item({"app": "web"}, self.load, self.clock.now - 20, f"{self.load}", source="forecast")]
        )

    def look(self, load: float | Exception, seconds: float = 15) -> int:
        """One look under `load`, `seconds` after the last; the replicas after it."""
        self.clock.advance(seconds)
        self.ticks.advance(seconds)
        self.load = load
        self.control.look()
        return self.workload.wanted

    def count(self, series: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"cloudpulse_scaler_docker_{series}", labels) or 0.0


@pytest.fixture
def bench(settings_of: Read) -> Callable[..., Bench]:
    def make(wanted: int, more: str = "target: 100", *, dry_run: bool = False, ready: int | None = None) -> Bench:
        text = f"{{swarm: web, metric: ahead, selector: app=web, min: 2, max: 20, {more}}}"
        return Bench(
            settings_of(f"{METRICS}docker: {{services: [{text}]}}"), FakeWorkload(wanted, ready), dry_run=dry_run
        )

    return make


def test_grows_at_once_by_what_the_policies_allow(bench: Callable[..., Bench]) -> None:
    """Kubernetes' defaults: 4 pods or 100 %, whichever is more, in 15 seconds."""
    one = bench(2)
    assert [one.look(1150) for _ in range(3)] == [6, 12, 12]
    assert one.count("changes_total", service="web", direction="up") == 2


def test_shrinks_only_when_nothing_higher_was_asked_for_in_five_minutes(bench: Callable[..., Bench]) -> None:
    one = bench(10)
    assert {one.look(300) for _ in range(19)} == {10}
    assert one.look(300, seconds=31) == 3
    assert one.count("changes_total", service="web", direction="down") == 1


def test_a_load_within_the_tolerance_changes_nothing(bench: Callable[..., Bench]) -> None:
    one = bench(10)
    assert [one.look(1100), one.look(1101)] == [10, 12]


@pytest.mark.parametrize(("wanted", "load", "after"), [(10, 1e6, 20), (1, 0, 2), (30, 3000, 20)])
def test_stays_within_min_and_max(bench: Callable[..., Bench], wanted: int, load: float, after: int) -> None:
    assert bench(wanted).look(load) == after


def test_behavior_is_followed(bench: Callable[..., Bench]) -> None:
    behavior = (
        "target: 100, behavior: {scaleDown: {stabilizationWindowSeconds: 0, policies: [{type: Pods, value: 1, "
        "periodSeconds: 60}]}, scaleUp: {selectPolicy: Disabled}}"
    )
    one = bench(10, behavior)
    assert [one.look(2000), one.look(300), one.look(300, 30), one.look(300, 31)] == [10, 9, 9, 8]


def test_a_value_target_is_shared_by_the_replicas_that_are_ready(bench: Callable[..., Bench]) -> None:
    one = bench(4, "value: 0.5", ready=3)
    assert one.look(1.0) == 6


def test_a_value_says_nothing_while_no_replica_is_ready(bench: Callable[..., Bench]) -> None:
    """The HPA's arithmetic would give 0 replicas, that is min."""
    one = bench(4, "value: 0.5, behavior: {scaleDown: {stabilizationWindowSeconds: 0}}", ready=0)
    assert one.look(1.0) == 4
    assert "none of its replicas is ready" in one.control.state.problem


def test_a_number_set_by_hand_is_where_it_goes_on_from(bench: Callable[..., Bench]) -> None:
    """As with the HPA: what counts is the present number, and what was recommended in the last minutes."""
    one = bench(4)
    assert one.look(400) == 4
    one.workload.wanted = 7
    assert one.look(1500) == 14
    one.workload.wanted = 3
    assert one.look(400) == 4


def test_zero_replicas_turn_scaling_off(bench: Callable[..., Bench]) -> None:
    one = bench(0)
    assert one.look(1e6) == 0
    assert "scaling is off" in one.control.state.problem
    one.workload.wanted = 3
    assert one.look(600) == 6


def test_without_a_value_to_trust_nothing_changes_not_even_into_bounds(bench: Callable[..., Bench]) -> None:
    one = bench(30)
    with captured_logs() as lines:
        for age in (130, 145, 160):
            assert one.look(unavailable(f"the value is {age} s old")) == 30
        assert one.control.state.desired is None
        assert one.look(3000) == 20
    assert [line["event"] for line in lines] == ["scaling stopped", "scaled", "scaling goes on"]
    assert lines[0]["why"] == "the value is 130 s old"
    assert one.count("errors_total", service="web", reason="metric") == 1


def test_an_engine_that_is_away_and_back_is_said_once_each(bench: Callable[..., Bench]) -> None:
    one = bench(4)
    assert one.look(400) == 4
    with captured_logs() as lines:
        one.workload.error = EngineUnavailable("the Docker Engine can't be reached: refused")
        for _ in range(3):
            one.look(800)
        assert (one.control.state.replicas, one.control.state.reason) == (None, "engine")
        one.workload.error = None
        assert one.look(800) == 8
    assert [line["event"] for line in lines] == ["scaling stopped", "scaled", "scaling goes on"]
    assert one.count("errors_total", service="web", reason="engine") == 1


def test_a_change_that_fails_is_no_change(bench: Callable[..., Bench]) -> None:
    """It is not counted, the policies don't count it either, and it is tried again."""
    one = bench(4)
    one.workload.failure = ChangedMeanwhile("someone else has set it")
    with captured_logs() as lines:
        assert [one.look(1e6), one.look(1e6)] == [4, 4]
    assert [line["event"] for line in lines] == ["not scaled", "scaling stopped"]
    assert one.control.state.desired == 8
    assert one.count("changes_total", service="web", direction="up") == 0
    assert one.count("errors_total", service="web", reason="conflict") == 1
    one.workload.failure = None
    assert one.look(1e6) == 8


def test_what_is_held_is_left_alone(bench: Callable[..., Bench]) -> None:
    one = bench(4)
    one.workload.held = "an update is under way"
    assert one.look(1e6) == 4
    assert one.control.state.problem == "an update is under way"


def test_a_problem_that_holds_nothing_up_is_said_once_while_scaling_goes_on(bench: Callable[..., Bench]) -> None:
    one = bench(4)
    one.look(400)
    with captured_logs() as lines:
        one.workload.problem = "container web_3 has stopped"
        assert [one.look(800), one.look(800)] == [8, 8]
        assert (one.control.state.reason, one.control.state.problem) == ("", "container web_3 has stopped")
        one.look(unavailable("the value is 130 s old"))
        assert one.control.state.problem == "the value is 130 s old"
        one.workload.problem = ""
        one.look(800)
    assert [line["event"] for line in lines] == ["scaled", "not all of it runs", "scaling stopped", "scaling goes on"]
    assert one.count("errors_total", service="web", reason="metric") == 1


def test_a_dry_run_says_what_it_would_do_once_and_does_nothing(bench: Callable[..., Bench]) -> None:
    one = bench(4, dry_run=True)
    with captured_logs() as lines:
        assert [one.look(800) for _ in range(4)] == [4] * 4
        assert one.control.state.desired == 8
        assert one.look(500) == 4
    assert [(line["event"], line["from"], line["to"], line["dry_run"]) for line in lines] == [
        ("would scale", 4, 8, True),
        ("would scale", 4, 5, True),
    ]
    assert one.workload.changes == []
    assert one.count("changes_total", service="web", direction="up") == 0


def test_the_audit_line_says_who_what_and_why(bench: Callable[..., Bench]) -> None:
    one = bench(2)
    with captured_logs() as lines:
        one.look(1150)
    (line,) = lines
    assert line == {
        "event": "scaled",
        "level": "info",
        "service": "web",
        "from": 2,
        "to": 6,
        "metric": "Ahead",
        "value": 1150,
        "age_seconds": 20,
        "source": "forecast:web_rps",
        "reason": "the policies allow no faster growth",
        "dry_run": False,
    }


def test_a_change_and_one_that_failed_stand_in_the_audit_log(bench: Callable[..., Bench], tmp_path: Path) -> None:
    one = bench(4)
    audit.to(str(tmp_path / "audit"))
    try:
        one.workload.failure = ChangedMeanwhile("someone else has set it")
        one.look(1e6)
        one.look(1e6)
        one.workload.failure = None
        one.look(1e6)
    finally:
        audit.to(None)
    lines = [json.loads(line) for line in (tmp_path / "audit").read_text().splitlines()]
    told = [(x["who"], x["action"], x["result"], x["about"]["to"], x["about"].get("error")) for x in lines]
    assert told == [
        ("scaler", "scale service", "failed", 8, "someone else has set it"),
        ("scaler", "scale service", "scaled", 8, None),
    ]


def test_an_error_of_our_own_ends_nothing(bench: Callable[..., Bench]) -> None:
    one = bench(4)
    assert one.look(RuntimeError("a bug")) == 4
    assert one.control.state.reason == "internal"
    assert one.look(800) == 8


def test_a_clock_that_is_set_changes_nothing(bench: Callable[..., Bench]) -> None:
    one = bench(10)
    one.look(1000)
    one.clock.advance(3600)
    assert one.look(300) == 10
    one.clock.advance(-7200)
    assert one.look(300, seconds=300) == 3


def test_a_control_that_is_stopped_looks_no_more(bench: Callable[..., Bench]) -> None:
    one = bench(4)
    one.control.stop()
    assert one.look(1e6) == 4


def test_the_next_of_the_same_service_waits_for_the_last_look(bench: Callable[..., Any]) -> None:
    one = bench(4)
    turn = one.control._turn
    with turn:
        waiting = threading.Thread(target=one.look, args=(1e6,))
        waiting.start()
        waiting.join(0.05)
        assert one.workload.changes == []
    waiting.join(10)
    assert one.workload.changes == [(4, 8)]
