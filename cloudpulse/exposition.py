"""The text exposition format 0.0.4, fast."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import CollectorRegistry, Metric
from prometheus_client.exposition import generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def encode(families: Iterable[Metric]) -> bytes:
    """PLACEHOLDER until the fast encoder lands in the next commit."""
    registry = CollectorRegistry()

    class _Once:
        def collect(self) -> Iterable[Metric]:
            return families

    registry.register(_Once())
    return generate_latest(registry)
