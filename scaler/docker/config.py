"""The `scaler.docker` section of the config."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cloudpulse.config import ClientTls, Section, exactly_one
from cloudpulse.durations import Duration
from cloudpulse.manifest import BehaviorWords
from scaler import selector
from scaler.quantity import check_target

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")


class ComposeService(Section, frozen=True):
    """A service by what Compose labels its containers with."""

    project: str
    service: str

    def __post_init__(self) -> None:
        for key, name in (("project", self.project), ("service", self.service)):
            if not _NAME.fullmatch(name):
                raise ValueError(f'{key}: expected a name as in the Compose file, got "{name}"')


class ScaledService(Section, frozen=True):
    """One service, the external metric that it follows, and its bounds.

    `target` is how much of the metric one replica takes (the HPA's AverageValue); `value` is what the whole metric
    shall be, as with a utilization (its Value). `behavior` has autoscaling/v2's words and defaults.
    """

    metric: str
    max: int
    min: int = 1
    swarm: str | None = None
    compose: ComposeService | None = None
    selector: str = ""
    target: float | None = None
    value: float | None = None
    behavior: BehaviorWords = BehaviorWords()

    def __post_init__(self) -> None:
        exactly_one(swarm=self.swarm, compose=self.compose)
        if self.swarm is not None and not _NAME.fullmatch(self.swarm):
            raise ValueError(f'swarm: expected the name of a service as in docker service ls, got "{self.swarm}"')
        exactly_one(target=self.target, value=self.value)
        for key, number in (("target", self.target), ("value", self.value)):
            if number is not None:
                _check_target(key, number)
        if self.min < 1:
            raise ValueError(f"min: expected 1 or more (0 replicas mean that scaling is off), got {self.min}")
        if self.min > self.max:
            raise ValueError(f"expected min not above max, got {self.min} and {self.max}")
        try:
            selector.parse(self.selector)
        except ValueError as error:
            raise ValueError(f"selector: {error}") from error

    @property
    def name(self) -> str:
        """What logs, series and /health call it: `web`, or `shop/web` of Compose."""
        if self.compose is not None:
            return f"{self.compose.project}/{self.compose.service}"
        assert self.swarm is not None
        return self.swarm


class DockerSettings(Section, frozen=True):
    """The whole section: one Engine and the services on it; no other is ever touched."""

    host: str = "unix:///var/run/docker.sock"
    tls: ClientTls | None = None
    interval: Duration = Duration(15)
    dry_run: bool = False
    services: tuple[ScaledService, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"unix:///.+|tcp://[^/@]+:[0-9]+", self.host):
            raise ValueError(f'host: expected unix:///PATH or tcp://HOST:PORT, got "{self.host}"')
        if self.tls is not None and self.host.startswith("unix:"):
            raise ValueError("tls goes with a tcp:// host")
        if self.tls is not None and (self.tls.cert_file is None) is not (self.tls.key_file is None):
            raise ValueError("tls: expected both cert_file and key_file, or neither")
        if self.interval < 1:
            raise ValueError(f"interval: expected at least 1s, got {self.interval}")
        names = [service.name for service in self.services]
        for i, name in enumerate(names):
            if name in names[:i]:
                raise ValueError(f"services[{i}]: {name} is scaled twice: keep one, or the two would fight")

    def check(self, external: Mapping[str, str | None]) -> None:
        """Raise ValueError unless each service follows an external metric that belongs to no namespace.

        `external`: name in lower case, as the HPA asks for it -> the label that holds its namespace.
        """
        for i, service in enumerate(self.services):
            place = f"docker.services[{i}].metric"
            if service.metric.lower() not in external:
                raise ValueError(f'{place}: there is no external metric "{service.metric}" in scaler.metrics')
            if external[service.metric.lower()] is not None:
                raise ValueError(
                    f'{place}: "{service.metric}" has a value for each Kubernetes namespace: '
                    "take resource.namespace out of the rule, and select by the label instead"
                )


def _check_target(key: str, number: float) -> None:
    try:
        check_target(number)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error
