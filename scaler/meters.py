"""What the scaler says about its own work."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from cloudpulse import names
from cloudpulse.clock import Clock
from scaler.config import Rule
from scaler.provider import Answer
from scaler.watch import Watch

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1)


class Meters:
    """Counts requests and remembers the value last served. For several threads."""

    def __init__(self, registry: CollectorRegistry, clock: Clock) -> None:
        self._requests = names.SCALER_REQUESTS.counter(registry)
        self._duration = names.SCALER_REQUEST_DURATION.histogram(registry, SECONDS)
        self._denied = names.SCALER_DENIED.counter(registry)
        self._served = _Served(clock)
        self._rules = _Rules()
        registry.register(self._served)
        registry.register(self._rules)

    def show(self, watches: Sequence[Watch]) -> None:
        """Tell of these rules from now on."""
        self._rules.watches = watches
        self._served.prune([watch.rule for watch in watches])

    def answered(self, api: str, answer: Answer, seconds: float) -> None:
        """A metric request got its values."""
        self._count(api, answer.rule.name, 200, seconds)
        self._served.keep(api, answer)

    def refused(self, api: str, metric: str, code: int, seconds: float) -> None:
        """A metric request got none; `metric` is a rule's name, or "" where the caller asked for anything else."""
        self._count(api, metric, code, seconds)

    def denied(self, reason: str) -> None:
        """A caller was not known."""
        self._denied.labels(reason).inc()

    def _count(self, api: str, metric: str, code: int, seconds: float) -> None:
        self._requests.labels(api, metric, str(code)).inc()
        self._duration.labels(api).observe(seconds)


class _Served:
    """Collects the value that each API last served of each metric and, growing until the next, its age."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: dict[tuple[str, str], Answer] = {}

    def keep(self, api: str, answer: Answer) -> None:
        self._last[api, answer.rule.name] = answer

    def prune(self, rules: Sequence[Rule]) -> None:
        for key, answer in self._last.copy().items():
            if answer.rule not in rules:
                self._last.pop(key, None)

    def collect(self) -> Iterable[Metric]:
        value, age = names.SCALER_VALUE.family(), names.SCALER_VALUE_AGE.family()
        now = self._clock()
        for (api, metric), answer in sorted(self._last.copy().items(), key=lambda kept: kept[0]):
            value.add_sample(value.name, {"api": api, "metric": metric}, answer.total)
            age.add_sample(age.name, {"api": api, "metric": metric}, now - answer.oldest)
        yield value
        yield age


class _Rules:
    """Collects what became of each rule at its last evaluation; a figure that isn't known is left out."""

    def __init__(self) -> None:
        self.watches: Sequence[Watch] = ()

    def collect(self) -> Iterable[Metric]:
        fallback, part = names.SCALER_FALLBACK.family(), names.SCALER_PART.family()
        series, gated = names.SCALER_SERIES.family(), names.SCALER_GATED.family()
        horizon = names.SCALER_HORIZON.family()
        counts: Counter[tuple[str, str]] = Counter()
        for watch in self.watches:
            counts += Counter({(watch.rule.name, reason): count for reason, count in watch.fallbacks().items()})
            snapshot = watch.last()
            if snapshot is None:
                continue
            evaluation = snapshot.evaluation
            labels = {"metric": watch.rule.name, "kind": ",".join(watch.rule.objects)}
            series.add_sample(series.name, labels, len(evaluation.items))
            if watch.rule.forecast is None:
                continue
            ahead = math.fsum(item.value for item in evaluation.ahead if not item.problem)
            sums = {"measured": evaluation.measured, "forecast": evaluation.forecast, "ahead": ahead}
            for name, value in sums.items():
                if not math.isnan(value):
                    part.add_sample(part.name, {**labels, "part": name}, value)
            gated.add_sample(gated.name, labels, evaluation.shut)
            if snapshot.choice.horizon:
                horizon.add_sample(horizon.name, labels, snapshot.choice.seconds)
        for (metric, reason), count in sorted(counts.items()):
            fallback.add_sample(names.SCALER_FALLBACK.name, {"metric": metric, "reason": reason}, count)
        yield from (fallback, part, series, gated, horizon)
