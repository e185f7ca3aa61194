"""What the scaler says of the services on Docker."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from cloudpulse import names


class Meters:
    """Counts changes and what prevents them. For several threads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._changes = names.SCALER_DOCKER_CHANGES.counter(registry)
        self._errors = names.SCALER_DOCKER_ERRORS.counter(registry)

    def follow(self, service: str) -> None:
        """Show the service's changes from 0 on: `increase` can't see a counter's first appearance."""
        for direction in ("up", "down"):
            self._changes.labels(service, direction)

    def changed(self, service: str, before: int, after: int) -> None:
        """The Engine took a new number of replicas."""
        self._changes.labels(service, "up" if after > before else "down").inc()

    def prevented(self, service: str, reason: str) -> None:
        """From now on nothing is changed, for `reason`."""
        self._errors.labels(service, reason).inc()
