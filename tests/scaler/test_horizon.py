"""Which horizon and level are read, and how long a new pod is taken to need."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cloudpulse import ahead
from cloudpulse.errors import QueryRejected, SourceUnavailable
from cloudpulse.promql import Series
from cloudpulse.testing import FakeClock, FakeSource
from forecaster.config import Target
from scaler.config import Rule, ScalerSettings
from scaler.horizon import Choice, Horizons, Ready, ReadyTimes, choose

Read = Callable[..., ScalerSettings]
EXPORTED = [(h, level) for h in ("0s", "5m", "15m", "1h", "1d") for level in ("0.1", "0.5", "0.9", "0.95")]


def rule(settings_of: Read, more: str) -> Rule:
    return settings_of(f"metrics: [{{name: a, api: external, forecast: f, reactive: q{more}}}]").metrics[0]


@pytest.mark.parametrize(
    ("more", "ready", "horizon", "level"),
    [
        ("", 0, "5m", "0.9"),
        ("", 120, "5m", "0.9"),  # 120 + 3 min until it counts
        ("", 121, "15m", "0.9"),
        ("", 4000, "1d", "0.9"),
        (", horizon: 24h", math.nan, "1d", "0.9"),  # the same horizon by another name
        (", horizon: 60m, level: 0.5", math.nan, "1h", "0.5"),
        (", cost: {short: 5, idle: 1}", 0, "5m", "0.9"),  # .833
        (", cost: {short: 9, idle: 1}", 0, "5m", "0.9"),
        (", cost: {short: 10, idle: 1}", 0, "5m", "0.95"),
        (", cost: {short: 1, idle: 1}", 0, "5m", "0.5"),
    ],
)
def test_the_smallest_that_is_enough_is_chosen(
    settings_of: Read, more: str, ready: float, horizon: str, level: str
) -> None:
    choice = choose(rule(settings_of, more), EXPORTED, Ready(ready))
    assert (choice.horizon, choice.level, choice.notes, choice.problem) == (horizon, level, (), "")


def test_the_defaults_of_a_forecast_are_what_the_defaults_of_a_rule_were_measured_with(settings_of: Read) -> None:
    """benchmarks/simulate.py: 5 minutes ahead, at the level of `ahead`."""
    target = Target(name="f", query="q")
    exported = [(str(horizon), f"{level:g}") for horizon in target.horizons for level in target.levels]
    choice = choose(rule(settings_of, ""), exported, Ready(ahead.DEFAULT_READY_SECONDS))
    assert (choice.horizon, choice.level, choice.notes) == ("5m", f"{ahead.DEFAULT_LEVEL:g}", ())


@pytest.mark.parametrize(("step", "horizon"), [("1m", "5m"), ("5m", "15m")])
def test_a_coarser_step_must_be_looked_beyond(settings_of: Read, step: str, horizon: str) -> None:
    assert choose(rule(settings_of, f", step: {step}"), EXPORTED, Ready(120)).horizon == horizon


def test_what_falls_short_is_used_and_said(settings_of: Read) -> None:
    far = choose(rule(settings_of, ""), EXPORTED, Ready(200_000))
    assert (far.horizon, far.seconds) == ("1d", 86400)
    assert far.notes == (f"no horizon of forecast f reaches the 2d7h36m20s that a new pod needs: {far.horizon} used",)
    dear = choose(rule(settings_of, ", cost: {short: 99, idle: 1}"), EXPORTED, Ready(0))
    assert (dear.level, dear.notes) == ("0.95", ("no level of forecast f reaches 0.99: 0.95 used",))


def test_a_default_level_that_is_not_exported_is_the_next(settings_of: Read) -> None:
    exported = [("5m", "0.5"), ("5m", "0.95")]
    assert choose(rule(settings_of, ""), exported, Ready(0)).level == "0.95"


@pytest.mark.parametrize(
    ("more", "exported", "problem"),
    [
        (", horizon: 30m", EXPORTED, "has no horizon 30m, only 5m, 15m, 1h, 1d: choose one of them, or add it"),
        (", level: 0.99", EXPORTED, "has no level 0.99, only 0.1, 0.5, 0.9, 0.95: choose one of them, or add it"),
        ("", [], "Prometheus has no forecast f now"),
        ("", [("0s", "0.9"), ("", "x")], "Prometheus has no forecast f now"),
    ],
)
def test_what_is_not_exported_is_a_problem_that_names_what_is(
    settings_of: Read, more: str, exported: list[tuple[str, str]], problem: str
) -> None:
    choice = choose(rule(settings_of, more), exported, Ready(0))
    assert (choice.horizon, choice.level) == ("", "")
    assert problem in choice.problem


class World:
    """What Prometheus says of a forecast's labels and of pods."""

    def __init__(self, rule: Rule) -> None:
        self.clock = FakeClock()
        self.exported = EXPORTED
        self.ready: list[float] = [100.0]
        self.source = FakeSource(self.samples, self.clock)
        self.ready_times = ReadyTimes(self.source)
        self.horizons = Horizons(rule, self.source, self.ready_times)

    def samples(self, query: str) -> list[Series]:
        now = np.array([self.clock.now])
        if query.startswith("group by"):
            return [Series({"horizon": h, "level": level}, now, np.ones(1)) for h, level in self.exported]
        return [Series({"n": str(i)}, now, np.array([value])) for i, value in enumerate(self.ready)]

    def choice(self, seconds: float = 0, *, missing: bool = False) -> Choice:
        self.clock.advance(seconds)
        return self.horizons.at(self.clock.now, missing=missing)


def test_auto_follows_what_pods_take(settings_of: Read) -> None:
    world = World(rule(settings_of, ""))
    assert (world.choice().horizon, world.horizons.choice.lead) == ("5m", 280)
    assert "kube_pod_status_ready_time" in world.source.asked[1]
    world.ready = [300.0, 10.0]  # of several the slowest
    assert world.choice(299).horizon == "5m"
    assert len(world.source.asked) == 2
    assert world.choice(1).horizon == "15m"


def test_a_time_that_moves_a_little_is_the_same_choice(settings_of: Read) -> None:
    """A choice that changes is logged, and pods never take quite as long as they did."""
    world = World(rule(settings_of, ""))
    before = world.choice()
    world.ready = [100.1]
    assert world.choice(300) == before
    assert world.choice().lead == pytest.approx(before.lead + 0.1)


def test_rules_share_what_is_asked_of_the_whole_cluster(settings_of: Read) -> None:
    world = World(rule(settings_of, ""))
    beside = Horizons(rule(settings_of, ", level: 0.5"), world.source, world.ready_times)
    other = Horizons(rule(settings_of, ", ready: {query: my_ready}"), world.source, world.ready_times)
    for _ in range(3):
        choices = [horizons.at(world.clock.now, missing=False) for horizons in (world.horizons, beside, other)]
        assert {choice.lead for choice in choices} == {280}
        world.clock.advance(300)
    assert sum("kube_pod" in query for query in world.source.asked) == 3
    assert world.source.asked.count("my_ready") == 3


def test_one_asks_while_the_others_wait_for_the_answer(settings_of: Read) -> None:
    world = World(rule(settings_of, ""))
    samples, both = world.samples, threading.Barrier(2)

    def slowly(query: str) -> list[Series]:
        if "kube_pod" in query:
            time.sleep(0.05)
        else:
            both.wait(10)
        return samples(query)

    world.source.samples = slowly
    rules = [Horizons(rule(settings_of, ""), world.source, world.ready_times) for _ in range(2)]
    with ThreadPoolExecutor(2) as threads:
        leads = [one.lead for one in threads.map(lambda one: one.at(world.clock.now, missing=False), rules)]
    assert leads == [280, 280]
    assert sum("kube_pod" in query for query in world.source.asked) == 1


@pytest.mark.parametrize("ready", [[], [math.nan], [-5.0], [math.inf]])
def test_without_a_measured_time_two_minutes_are_assumed_and_said(settings_of: Read, ready: list[float]) -> None:
    world = World(rule(settings_of, ""))
    world.ready = ready
    choice = world.choice()
    assert (choice.horizon, choice.lead) == ("5m", 300)
    assert choice.notes == (
        "kube-state-metrics tells no time in which the pods of the cluster became ready: 2m assumed",
    )


def test_the_time_may_be_written_or_asked_for_otherwise(settings_of: Read) -> None:
    world = World(rule(settings_of, ", ready: 10m"))
    assert (world.choice().horizon, len(world.source.asked)) == ("15m", 1)
    world = World(rule(settings_of, ", ready: {query: my_ready}"))
    assert (world.choice().horizon, world.source.asked[1]) == ("5m", "my_ready")


def test_a_time_that_can_not_be_asked_for_now_is_the_last_one(settings_of: Read) -> None:
    world = World(rule(settings_of, ""))
    samples = world.samples

    def refusing(query: str) -> list[Series]:
        if "kube_pod" in query:
            raise QueryRejected("many-to-many matching")
        return samples(query)

    world.source.samples = refusing
    assert "Prometheus does not say how long pods take" in world.choice().notes[0]
    world.ready, world.source.samples = [500.0], samples
    assert (world.choice(300).horizon, world.choice().notes) == ("15m", ())
    world.source.samples = refusing
    assert (world.choice(300).horizon, world.choice().notes) == ("15m", ())


def test_labels_that_went_missing_are_looked_up_at_once(settings_of: Read) -> None:
    world = World(rule(settings_of, ""))
    assert world.choice().horizon == "5m"
    world.exported = [("10m", "0.9")]
    assert world.choice(15).horizon == "5m"
    assert world.choice(missing=True).horizon == "10m"
    assert sum("kube_pod" in query for query in world.source.asked) == 1


def test_prometheus_away_keeps_the_last_choice(settings_of: Read) -> None:
    world = World(rule(settings_of, ""))
    world.choice()
    world.source.error = SourceUnavailable("away")
    with pytest.raises(SourceUnavailable):
        world.choice(300)
    assert world.horizons.choice.horizon == "5m"
