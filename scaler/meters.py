"""What the scaler says about its own work."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from cloudpulse import names
from cloudpulse.clock import Clock
from scaler.provider import Answer

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1)


class Meters:
    """Counts requests and remembers the value last served. For several threads."""

    def __init__(self, registry: CollectorRegistry, clock: Clock) -> None:
        self._requests = names.SCALER_REQUESTS.counter(registry)
        self._duration = names.SCALER_REQUEST_DURATION.histogram(registry, SECONDS)
        self._denied = names.SCALER_DENIED.counter(registry)
        self._served = _Served(clock)
        registry.register(self._served)

    def answered(self, api: str, answer: Answer, seconds: float) -> None:
        """A metric request got its values."""
        self._count(api, answer.rule.name, 200, seconds)
        self._served.keep(answer)

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
    """Collects the value last served of each metric and, growing until the next, its age."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: dict[str, tuple[float, float]] = {}

    def keep(self, answer: Answer) -> None:
        self._last[answer.rule.name] = (answer.total, answer.oldest)

    def collect(self) -> Iterable[Metric]:
        value, age = names.SCALER_VALUE.family(), names.SCALER_VALUE_AGE.family()
        now = self._clock()
        for metric, (total, oldest) in sorted(self._last.copy().items()):
            value.add_sample(value.name, {"metric": metric}, total)
            age.add_sample(age.name, {"metric": metric}, now - oldest)
        yield value
        yield age
