"""One rule under watch: evaluated again and again, its last answer kept, and judged when it is asked for.

Absent beats wrong: what is missing, stale, NaN or out of range is a `Refused` that says why, never a number.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cloudpulse import logs, trace
from cloudpulse.clock import Clock
from cloudpulse.durations import format_duration
from cloudpulse.errors import AnswerUnusable, CloudPulseError, QueryRejected, SourceError, SourceUnavailable
from cloudpulse.promql import MetricSource
from scaler import question
from scaler.config import INTERVAL_SECONDS, Rule
from scaler.evaluation import Evaluation, Item, evaluate
from scaler.gate import Gate
from scaler.horizon import Choice, Horizons, ReadyTimes
from scaler.question import Parts
from scaler.refusal import Refused, not_found, unavailable
from scaler.resources import NAMESPACE

log = logs.get(__name__)

Place = tuple[str, str | None]
"""Kind as in a path ("" for an external metric) and namespace (None where there is none)."""


@dataclass(frozen=True)
class Snapshot:
    """A rule's items as Prometheus answered at `evaluated_at` (Unix seconds), found by place and object name.

    The object name of external metrics is "". `carried` are the names of all labels. `choice` is what was read of the
    forecast, by `query`.
    """

    evaluated_at: float
    query: str
    choice: Choice
    evaluation: Evaluation
    places: Mapping[Place, Mapping[str, Sequence[Item]]]
    carried: frozenset[str]

    @property
    def items(self) -> tuple[Item, ...]:
        """All of them."""
        return self.evaluation.items


class Watch:
    """Keeps `rule`'s last answer. One thread evaluates, any number may ask.

    `interval` is that of the evaluations; `ready_times` are those that several rules share.
    """

    def __init__(
        self,
        rule: Rule,
        source: MetricSource,
        clock: Clock,
        interval: float = INTERVAL_SECONDS,
        ready_times: ReadyTimes | None = None,
    ) -> None:
        self.rule = rule
        self._source = source
        self._clock = clock
        self._interval = interval
        self._horizons = Horizons(rule, source, ready_times or ReadyTimes(source))
        self._gate = Gate(rule.gate)
        self._snapshot: Snapshot | None = None
        self._failure = ""
        self._cause = ""
        self._fallbacks: Counter[str] = Counter()
        self._stopped = False
        self._awake = threading.Event()

    def start(self) -> None:
        """Evaluate now and each interval, in a thread of its own, so that a slow query delays no other rule.

        The source bounds how many queries run at once.
        """
        name = f"evaluate {self.rule.name}"
        threading.Thread(target=self._repeat, name=name, daemon=True).start()

    def stop(self) -> None:
        """End the evaluations; one under way is not waited for."""
        self._stopped = True
        self._awake.set()

    def pace(self, interval: float) -> None:
        """Evaluate now, and each `interval` seconds from now on."""
        self._interval = interval
        self._awake.set()

    def evaluate(self) -> None:
        """Ask Prometheus once. A failure keeps the answer before it, which ages; it is logged as it begins and ends."""
        try:
            snapshot = self.ask()
        except Exception as error:  # a dead thread would mean a metric that never comes back
            reason = _reason(error)
            if reason != self._failure:
                expected = isinstance(error, CloudPulseError)
                log.warning("not evaluated", metric=self.rule.name, error=str(error), exc_info=not expected)
            self._failure = reason
            return
        if self._failure:
            log.info("evaluated again", metric=self.rule.name, series=len(snapshot.items))
        self._failure = ""

    def ask(self) -> Snapshot:
        """Evaluate once and keep the answer; raises errors.SourceError."""
        before, now = self._snapshot, self._clock()
        self._cause = ""
        choice, query, parts = self._read(self._chosen(before, now), now)
        took = self._clock() - now
        evaluation = evaluate(self.rule, parts, choice, self._gate, now, until=now + took + self._interval + took)
        self._tell(before, choice, evaluation)
        # A new object each time: it is read by other threads.
        self._fallbacks = self._fallbacks + Counter(evaluation.fallbacks)
        self._snapshot = _placed(self.rule, Snapshot(now, query, choice, evaluation, {}, frozenset()))
        return self._snapshot

    def fallbacks(self) -> Mapping[str, int]:
        """Reason -> series that fell back for it, added up over the evaluations so far."""
        return self._fallbacks

    def notes(self) -> list[str]:
        """What was taken for granted or is odd, for people, without any series' labels."""
        snapshot = self._snapshot
        if snapshot is None or self.rule.forecast is None:
            return []
        series = len(snapshot.evaluation.items)
        counts = [f"{reason} {count}" for reason, count in sorted(snapshot.evaluation.fallbacks.items())]
        fallen = f"the forecast is not used for {sum(snapshot.evaluation.fallbacks.values())} of {series} series"
        found = [
            *([snapshot.choice.problem] if snapshot.choice.problem else []),
            *snapshot.choice.notes,
            *snapshot.evaluation.notes,
            *([f"{fallen} ({', '.join(counts)})"] if counts else []),
        ]
        return [f"{self.rule.title}: {note}" for note in found]

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
        if self.rule.needs_measured and not any(item.measured for item in items):
            raise unavailable(
                f"{title}{what}: nothing is measured now, and a forecast alone could shrink the service: "
                "try the rule's reactive query in Prometheus"
            )
        if bad := next((item for item in items if item.problem), None):
            raise unavailable(f"{title}{what}: {bad.problem} (series {shown(bad)})")
        times = [item.time for item in items]
        if not all(map(math.isfinite, times)):
            raise unavailable(f"{title}{what}: how old its values are is not known: {self._look_at()}")
        if now - min(times) > limit:
            alone = self.rule.forecast is not None and not self.rule.needs_measured
            made = f"forecast {self.rule.forecast} was made" if alone else "the value is from"
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

    def _repeat(self) -> None:
        while not self._stopped:
            with trace.span("scaler evaluation", cloudpulse__metric=self.rule.name):
                self.evaluate()
            self._awake.wait(self._interval)
            self._awake.clear()

    def _chosen(self, before: Snapshot | None, now: float) -> Choice:
        """What to read of the forecast. A look-up that fails leaves the last choice: what is measured needs none."""
        try:
            return self._horizons.at(now, missing=before is not None and not before.evaluation.figures)
        except SourceError as error:
            if not self.rule.needs_measured:
                raise
            what = f"what forecast {self.rule.forecast} exports can't be looked up now"
            self._cause = str(error)
            last = self._horizons.choice
            return replace(last, notes=(*last.notes, what)) if last.horizon else Choice(problem=what)

    def _read(self, choice: Choice, now: float) -> tuple[Choice, str, Parts]:
        """Ask once; and once more for what is measured alone, where only the forecast's part is refused."""
        query = question.text(self.rule, choice)
        try:
            return choice, query, question.split(self._source.instant(query, now) if query else ())
        except QueryRejected as error:
            if not choice.horizon or not self.rule.needs_measured:
                raise
            choice = Choice(
                problem=f"Prometheus refuses to answer forecast {self.rule.forecast} beside what is measured"
            )
            query = question.text(self.rule, choice)
            parts = question.split(self._source.instant(query, now))
            self._cause = str(error)
            return choice, query, parts

    def _stale(self, what: str) -> Refused:
        cause = self._failure or self._look_at()
        return unavailable(f"{self.rule.title}: {what}, more than max_age {self.rule.max_age}: {cause}")

    def _tell(self, before: Snapshot | None, choice: Choice, evaluation: Evaluation) -> None:
        """Log what changes, and in shadow mode what would be served."""
        name = self.rule.name
        if (before.choice if before else Choice()) != choice:
            facts = {"horizon": choice.horizon, "level": choice.level, "notes": choice.notes, "problem": choice.problem}
            tell = log.warning if self._cause else log.info
            tell("horizon chosen", metric=name, **facts, error=self._cause)
        if (set(before.evaluation.fallbacks) if before else set()) != set(evaluation.fallbacks):
            tell, what = (log.warning, "fallback") if evaluation.fallbacks else (log.info, "no fallback any more")
            tell(what, metric=name, series=len(evaluation.items), **evaluation.fallbacks)
        if self.rule.mode == "shadow":
            served, ahead = (sum(item.value for item in items) for items in (evaluation.items, evaluation.ahead))
            log.info("shadow", metric=name, served=served, would_be=ahead)

    def _look_at(self) -> str:
        if self._snapshot is not None and self._snapshot.choice.problem:
            return self._snapshot.choice.problem
        if self.rule.needs_measured and self.rule.forecast:
            return "try the rule's reactive query in Prometheus"
        if self.rule.forecast:
            return f"see what the forecaster says of forecast {self.rule.forecast}"
        return "try the rule's query in Prometheus"


def _placed(rule: Rule, bare: Snapshot) -> Snapshot:
    """`bare` with its items found by place."""
    places: dict[Place, dict[str, list[Item]]] = {}
    objects = [(kind, label) for kind, (_, label) in rule.objects.items()]
    for item in bare.items:
        namespace = item.labels.get(rule.namespace_label, "") if rule.namespace_label else None
        if namespace == "":
            continue
        if rule.api == "external":
            places.setdefault(("", namespace), {}).setdefault("", []).append(item)
        if rule.needs_measured and not item.measured:
            continue  # a forecast alone stands for no object
        for kind, label in objects:
            if name := item.labels.get(label):
                place = (kind, None if kind == NAMESPACE.name else namespace)
                places.setdefault(place, {}).setdefault(name, []).append(item)
    return replace(bare, places=places, carried=frozenset(name for item in bare.items for name in item.labels))


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


def shown(item: Item) -> str:
    """An item's labels, as PromQL writes them."""
    return "{" + ", ".join(f'{name}="{value}"' for name, value in sorted(item.labels.items())) + "}"
