"""Which of the horizons and levels that a forecast exports a rule reads.

`horizon: auto` is the smallest that is no nearer than a new pod: the time in which pods become ready, and a margin.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cloudpulse import ahead, names
from cloudpulse.durations import Duration, format_duration
from cloudpulse.errors import SourceError
from cloudpulse.promql import MetricSource, Sample
from scaler.config import Rule

LOOK_UP_SECONDS = 300.0
"""How often it is looked up what a forecast exports and how long pods take."""

READY_QUERY = """quantile(0.9,
  min by (namespace, pod, uid) (min_over_time(kube_pod_status_ready_time[1d:5m]))
  - on (namespace, pod, uid) max by (namespace, pod, uid) (kube_pod_created > time() - 86400)
  and on (namespace, pod, uid) kube_pod_info{created_by_kind=~"ReplicaSet|StatefulSet"}
)"""
"""Of nine in ten pods of the last day, the time from their creation until they were first ready, by kube-state-metrics.

The pods of the whole cluster count, so that all rules share it, and of them what an HPA makes, Deployments and
StatefulSets. `kube_pod_status_ready_time` moves each time a pod becomes ready again, hence its lowest value (each 5
minutes are looked at). The same pod from several kube-state-metrics is one.
"""


@dataclass(frozen=True)
class Choice:
    """The labels to read; both "" where the forecast has none that fit, and `problem` says why, for people.

    `notes` say what was taken for granted on the way. `lead` is what `auto` looked for, in seconds, else NaN.
    """

    horizon: str = ""
    level: str = ""
    lead: float = field(default=math.nan, compare=False)
    notes: tuple[str, ...] = ()
    problem: str = ""

    @property
    def seconds(self) -> float:
        """The horizon; NaN without one."""
        return float(Duration.parse(self.horizon)) if self.horizon else math.nan


@dataclass(frozen=True)
class Ready:
    """In how many seconds a new pod is ready; `note` says so where that was only assumed."""

    seconds: float
    note: str = ""


def choose(rule: Rule, exported: Iterable[tuple[str, str]], ready: Ready) -> Choice:
    """Of the (horizon, level) labels that the forecast exports, those that `rule` asks for."""
    horizons: dict[float, str] = {}
    levels: dict[str, dict[float, str]] = {}
    for horizon, level in exported:
        try:
            seconds, share = float(Duration.parse(horizon)), float(level)
        except ValueError:
            continue  # a series by that name which is no forecast of ours
        if seconds > 0:
            horizons[seconds] = horizon
            levels.setdefault(horizon, {})[share] = level
    lead = (
        math.nan
        if rule.fixed_horizon is not None
        else ahead.horizon_seconds(ready.seconds, rule.step or ahead.DEFAULT_STEP_SECONDS)
    )
    if not horizons:
        return Choice(lead=lead, problem=f"Prometheus has no forecast {rule.forecast} now: is the forecaster scraped?")
    notes = []
    if rule.fixed_horizon is not None:
        found = horizons.get(float(rule.fixed_horizon))
        if found is None:
            there = ", ".join(horizons[seconds] for seconds in sorted(horizons))
            problem = f"forecast {rule.forecast} has no horizon {rule.fixed_horizon}, only {there}"
            return Choice(problem=f"{problem}: choose one of them, or add it to the forecast's horizons")
    else:
        notes += [ready.note] if ready.note else []
        found, short = _at_least(horizons, lead)
        if short:
            needed = format_duration(round(lead))
            notes.append(
                f"no horizon of forecast {rule.forecast} reaches the {needed} that a new pod needs: {found} used"
            )
    level, problem, note = _level(rule, levels[found])
    return Choice(found if level else "", level, lead, (*notes, note) if note else tuple(notes), problem)


def _level(rule: Rule, levels: dict[float, str]) -> tuple[str, str, str]:
    """Label, problem, note."""
    if rule.level is not None and rule.level not in levels:
        there = ", ".join(levels[share] for share in sorted(levels))
        problem = f"forecast {rule.forecast} has no level {rule.level:g}, only {there}"
        return "", f"{problem}: choose one of them, or add it to the forecast's levels", ""
    wanted = rule.level or (rule.cost.level if rule.cost else ahead.DEFAULT_LEVEL)
    label, short = _at_least(levels, wanted)
    note = f"no level of forecast {rule.forecast} reaches {wanted:.3g}: {label} used" if short else ""
    return label, "", note


def _at_least(labels: dict[float, str], wanted: float) -> tuple[str, bool]:
    """The label of the smallest number that isn't below `wanted`, else of the largest, and whether that falls short."""
    enough = [number for number in labels if number >= wanted - 1e-9]
    return (labels[min(enough)], False) if enough else (labels[max(labels)], True)


class ReadyTimes:
    """What queries say of how long pods take, in seconds; rules that ask the same share one answer, also a failure.

    For several threads: one asks, and the others wait for its answer.
    """

    def __init__(self, source: MetricSource) -> None:
        self._source = source
        self._asked: dict[str, _Asked] = {}

    def of(self, query: str, now: float) -> float:
        """The largest value of the answer, NaN without any, at most `LOOK_UP_SECONDS` old; raises SourceError."""
        asked = self._asked.setdefault(query, _Asked())
        with asked.lock:
            if now - asked.at >= LOOK_UP_SECONDS:
                try:
                    asked.outcome = max((one.value for one in self._source.instant(query, now)), default=math.nan)
                except SourceError as error:
                    asked.outcome = error
                asked.at = now
            if isinstance(asked.outcome, SourceError):
                raise asked.outcome
            return asked.outcome


@dataclass
class _Asked:
    at: float = -math.inf
    outcome: float | SourceError = math.nan
    lock: threading.Lock = field(default_factory=threading.Lock)


class Horizons:
    """Looks up what `rule` can read, now and then. For one thread; every method raises errors.SourceError."""

    def __init__(self, rule: Rule, source: MetricSource, ready_times: ReadyTimes) -> None:
        self._rule = rule
        self._source = source
        self._ready_times = ready_times
        self._looked_up = -math.inf
        self._measured: Ready | None = None
        self.choice = Choice()

    def at(self, now: float, *, missing: bool) -> Choice:
        """The choice at Unix time `now`, looked up again when it is old or what it names is `missing`."""
        if self._rule.forecast is None:
            return self.choice
        if missing or now - self._looked_up >= LOOK_UP_SECONDS:
            self.choice = self._look_up(now)
        return self.choice

    def _look_up(self, now: float) -> Choice:
        query = f'group by (horizon, level) ({names.FORECAST_VALUE.name}{{forecast="{self._rule.forecast}"}})'
        exported = _pairs(self._source.instant(query, now))
        if now - self._looked_up >= LOOK_UP_SECONDS:
            self._measured = self._ready(now)
            self._looked_up = now
        assert self._measured is not None
        return choose(self._rule, exported, self._measured)

    def _ready(self, now: float) -> Ready:
        if self._rule.fixed_horizon is not None:
            return Ready(math.nan)
        if self._rule.fixed_ready is not None:
            return Ready(float(self._rule.fixed_ready))
        assumed = format_duration(ahead.DEFAULT_READY_SECONDS)
        try:
            measured = self._ready_times.of(self._rule.ready_query or READY_QUERY, now)
        except SourceError:
            return self._kept(f"Prometheus does not say how long pods take to be ready: {assumed} assumed")
        if not 0 <= measured < math.inf:
            what = "its ready.query tells no time in which pods became ready"
            if self._rule.ready_query is None:
                what = "kube-state-metrics tells no time in which the pods of the cluster became ready"
            return Ready(ahead.DEFAULT_READY_SECONDS, f"{what}: {assumed} assumed")
        return Ready(measured)

    def _kept(self, note: str) -> Ready:
        """What was last measured, if anything was."""
        if self._measured is not None and not self._measured.note:
            return self._measured
        return Ready(ahead.DEFAULT_READY_SECONDS, note)


def _pairs(answer: Sequence[Sample]) -> set[tuple[str, str]]:
    return {(one.labels.get("horizon", ""), one.labels.get("level", "")) for one in answer}
