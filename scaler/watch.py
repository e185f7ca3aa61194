"""One rule under watch: evaluated again and again, its last answer kept, and judged when it is asked for.

Absent beats wrong: what is missing, stale, NaN or out of range is a `Refused` that says why, never a number.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cloudpulse import logs
from cloudpulse.clock import Clock
from cloudpulse.durations import format_duration
from cloudpulse.errors import AnswerUnusable, CloudPulseError, QueryRejected, SourceUnavailable
from cloudpulse.promql import MetricSource
from scaler.config import Rule
from scaler.evaluation import Item, items_of, query_of
from scaler.refusal import Refused, not_found, unavailable
from scaler.resources import NAMESPACE

log = logs.get(__name__)

Place = tuple[str, str | None]
"""Kind as in a path ("" for an external metric) and namespace (None where there is none)."""


@dataclass(frozen=True)
class Snapshot:
    """A rule's items as Prometheus answered at `evaluated_at` (Unix seconds), found by place and object name.

    The object name of external metrics is "". `carried` are the names of all labels.
    """

    evaluated_at: float
    items: tuple[Item, ...]
    places: Mapping[Place, Mapping[str, Sequence[Item]]]
    carried: frozenset[str]


class Watch:
    """Keeps `rule`'s last answer. One thread evaluates, any number may ask."""

    def __init__(self, rule: Rule, source: MetricSource, clock: Clock) -> None:
        self.rule = rule
        self._source = source
        self._clock = clock
        self._query = query_of(rule)
        self._snapshot: Snapshot | None = None
        self._failure = ""
        self._stop = threading.Event()

    def start(self, interval: float) -> None:
        """Evaluate now and each `interval` seconds, in a thread of its own, so that a slow query delays no other rule.

        The source bounds how many queries run at once.
        """
        name = f"evaluate {self.rule.name}"
        threading.Thread(target=self._repeat, args=(interval,), name=name, daemon=True).start()

    def stop(self) -> None:
        """End the evaluations; one under way is not waited for."""
        self._stop.set()

    def evaluate(self) -> None:
        """Ask Prometheus once. A failure keeps the answer before it, which ages; it is logged as it begins and ends."""
        asked_at = self._clock()
        try:
            items = items_of(self.rule, self._source.instant(self._query, asked_at), asked_at)
        except Exception as error:  # a dead thread would mean a metric that never comes back
            reason = _reason(error)
            if reason != self._failure:
                expected = isinstance(error, CloudPulseError)
                log.warning("not evaluated", metric=self.rule.name, error=str(error), exc_info=not expected)
            self._failure = reason
            return
        self._snapshot = _placed(self.rule, items, asked_at)
        if self._failure:
            log.info("evaluated again", metric=self.rule.name, series=len(items))
        self._failure = ""

    def last(self) -> Snapshot | None:
        """The last answer of Prometheus, of any age; each evaluation that succeeds makes a new one."""
        return self._snapshot

    def snapshot(self) -> Snapshot:
        """The last answer of Prometheus, of any age; raises Refused before the first."""
        if self._snapshot is None:
            raise unavailable(f"{self.rule.title} has no value yet: {self._failure or 'its rule is being evaluated'}")
        return self._snapshot

    def trusted(self, snapshot: Snapshot, items: Sequence[Item], what: str) -> None:
        """Raise Refused unless there are `items` and all of them can be served; `what` says which were asked for.

        One bad item spoils the rest: a sum or a mean without it would be another number, and look like a true one.
        """
        now, limit, title = self._clock(), self.rule.max_age, self.rule.title
        if not items:
            if now - snapshot.evaluated_at > limit:
                raise self._stale(f"Prometheus answered {_age(now, snapshot.evaluated_at)}")
            raise not_found(f"{title} has no series{what}: {self._look_at()}")
        if bad := next((item for item in items if item.problem), None):
            raise unavailable(f"{title}{what}: {bad.problem} (series {_shown(bad)})")
        times = [item.time for item in items]
        if not all(map(math.isfinite, times)):
            raise unavailable(f"{title}{what}: how old its values are is not known: {self._look_at()}")
        if now - min(times) > limit:
            made = f"forecast {self.rule.forecast} was made" if self.rule.forecast else "the value is from"
            raise self._stale(f"{made} {_age(now, min(times))}")
        if max(times) - now > limit:
            raise unavailable(f"{title}{what}: its values are from the future: the clocks of the hosts differ")

    def asked(self) -> bool:
        """Whether Prometheus answered the query within `max_age`, be it with nothing."""
        return self._snapshot is not None and self._clock() - self._snapshot.evaluated_at <= self.rule.max_age

    def problem(self) -> str:
        """What is wrong, for people; "" while all that Prometheus last answered can be served."""
        try:
            snapshot = self.snapshot()
            if any(item.problem for item in snapshot.items):
                # /health is open to everyone: which series and which value is for those who may ask for the metric.
                return f"{self.rule.title}: not all of its values can be used; a request for it says which"
            self.trusted(snapshot, snapshot.items, "")
        except Refused as refused:
            return refused.message
        return ""

    def _repeat(self, interval: float) -> None:
        while not self._stop.is_set():
            with logs.correlation("round"):
                self.evaluate()
            self._stop.wait(interval)

    def _stale(self, what: str) -> Refused:
        cause = self._failure or self._look_at()
        return unavailable(f"{self.rule.title}: {what}, more than max_age {self.rule.max_age}: {cause}")

    def _look_at(self) -> str:
        if self.rule.forecast:
            return f"see what the forecaster says of forecast {self.rule.forecast}"
        return "try the rule's query in Prometheus"


def _placed(rule: Rule, items: tuple[Item, ...], evaluated_at: float) -> Snapshot:
    places: dict[Place, dict[str, list[Item]]] = {}
    objects = [(kind, label) for kind, (_, label) in rule.objects.items()]
    for item in items:
        namespace = item.labels.get(rule.namespace_label, "") if rule.namespace_label else None
        if namespace == "":
            continue
        if rule.api == "external":
            places.setdefault(("", namespace), {}).setdefault("", []).append(item)
        for kind, label in objects:
            if name := item.labels.get(label):
                place = (kind, None if kind == NAMESPACE.name else namespace)
                places.setdefault(place, {}).setdefault(name, []).append(item)
    return Snapshot(evaluated_at, items, places, frozenset(name for item in items for name in item.labels))


def _reason(error: Exception) -> str:
    """The cause in words for anyone to see; addresses and queries stay in the log."""
    if isinstance(error, SourceUnavailable):
        return "Prometheus can't be reached or does not answer"
    if isinstance(error, QueryRejected):
        return "Prometheus refuses the rule's query, see the scaler's log"
    if isinstance(error, AnswerUnusable):
        return "the rule's query answers no series"
    return "the rule can't be evaluated, see the scaler's log"


def _age(now: float, then: float) -> str:
    return f"{format_duration(round(now - then))} ago"


def _shown(item: Item) -> str:
    return "{" + ", ".join(f'{name}="{value}"' for name, value in sorted(item.labels.items())) + "}"
