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


@contextlib.contextmanager
def asking(
    settings: InsightSettings, prometheus: PrometheusSettings
) -> Iterator[tuple[Insights, tuple[CollectorRegistry, ...]]]:
    """Insights that answer inside the `with`, and what shows their metrics."""
    if not settings.enabled:
        yield NoInsights(), ()
        return
    bounded = msgspec.structs.replace(
        prometheus,
        timeout=min(prometheus.timeout, Duration(QUERY_SECONDS)),
        max_concurrent_queries=min(prometheus.max_concurrent_queries, WORKERS),
    )
    source = Prometheus(bounded)
    service = PrometheusInsights(source, settings)
    service.start()
    try:
        yield service, (service.registry,)
    finally:
        service.stop()
        source.close()
