"""The bridge's own series: counters that the parts increment, and gauges read from the outbox when scraped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from alert_bridge.outbox import Outbox
from alert_bridge.schema import DEAD, PENDING
from cloudpulse import logs, names
from cloudpulse.clock import Clock
from cloudpulse.errors import StoreError

LATENCY_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 43200, 86400)
REJECTIONS = ("invalid", "too_large", "unauthorized", "storage")
RESULTS = ("delivered", "failed", "given_up")

log = logs.get(__name__)


class BridgeMetrics:
    """Counters and the histogram; every label value is there from the start, so that rates see the first event."""

    def __init__(self, registry: CollectorRegistry, receivers: Sequence[str]) -> None:
        self.received = names.BRIDGE_ALERTS_RECEIVED.counter(registry)
        self.rejected = names.BRIDGE_GROUPS_REJECTED.counter(registry)
        self.duplicates = names.BRIDGE_DUPLICATES.counter(registry)
        self.attempts = names.BRIDGE_NOTIFICATIONS.counter(registry)
        self.retries = names.BRIDGE_RETRIES.counter(registry)
        self.template_failures = names.BRIDGE_TEMPLATE_FAILURES.counter(registry)
        self.latency = names.BRIDGE_DELIVERY_LATENCY.histogram(registry, LATENCY_BUCKETS)
        for status in ("firing", "resolved"):
            self.received.labels(status)
        for reason in REJECTIONS:
            self.rejected.labels(reason)
        for receiver in receivers:
            self.retries.labels(receiver)
            self.template_failures.labels(receiver)
            self.latency.labels(receiver)
            for result in RESULTS:
                self.attempts.labels(receiver, result)


class BacklogMetrics:
    """What waits and what was given up; absent, not 0, when the outbox can't be read."""

    def __init__(self, outbox: Outbox, receivers: Sequence[str], clock: Clock) -> None:
        self._outbox = outbox
        self._receivers = receivers
        self._clock = clock

    def collect(self) -> Iterable[Metric]:
        """Three families; the oldest age only while something waits."""
        try:
            backlog = self._outbox.backlog()
        except StoreError as error:
            log.error("backlog not counted", error=str(error))
            return
        for definition, state in ((names.BRIDGE_PENDING, PENDING), (names.BRIDGE_DEAD_LETTERS, DEAD)):
            family = definition.family()
            counts = dict.fromkeys(self._receivers, 0)
            counts.update({entry.receiver: entry.count for entry in backlog if entry.state == state})
            for receiver, count in counts.items():
                family.add_sample(definition.name, {"receiver": receiver}, count)
            yield family
        if waiting := [entry.oldest_at for entry in backlog if entry.state == PENDING]:
            family = names.BRIDGE_OLDEST_PENDING.family()
            family.add_sample(names.BRIDGE_OLDEST_PENDING.name, {}, max(0.0, self._clock() - min(waiting)))
            yield family
