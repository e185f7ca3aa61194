"""What is found out about alerts by asking Prometheus."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import msgspec
from prometheus_client import CollectorRegistry

from alert_bridge.insight import Insights, NoInsights
from alert_bridge.insights.config import InsightSettings
from alert_bridge.insights.service import WORKERS, PrometheusInsights
from cloudpulse.config import PrometheusSettings
from cloudpulse.durations import Duration
from cloudpulse.promql import Prometheus

QUERY_SECONDS = 2.0
"""For a query, and for all pieces of a range: what takes longer comes too late for a message anyway."""


@contextlib.contextmanager
def asking(
    settings: InsightSettings, prometheus: PrometheusSettings, *, expected: bool = True
) -> Iterator[tuple[Insights, tuple[CollectorRegistry, ...]]]:
    """Insights that answer inside the `with`, and what shows their metrics.

    Unless it is `expected` that any receiver asks for them, what draws is loaded at the first picture only.
    """
    if not settings.enabled:
        yield NoInsights(), ()
        return
    source = bounded(prometheus)
    service = PrometheusInsights(source, settings)
    service.start(warm=expected)
    try:
        yield service, (service.registry,)
    finally:
        service.stop()
        source.close()


def bounded(settings: PrometheusSettings) -> Prometheus:
    """A Prometheus that is asked for no longer than a message can wait."""
    return Prometheus(
        msgspec.structs.replace(
            settings,
            timeout=min(settings.timeout, Duration(QUERY_SECONDS)),
            max_concurrent_queries=min(settings.max_concurrent_queries, WORKERS),
        ),
        QUERY_SECONDS,
    )
