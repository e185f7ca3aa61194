"""All services on Docker under control, as one thing: started, replaced at a reload, shown and ended together."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from cloudpulse import names
from cloudpulse.clock import Clock
from cloudpulse.serving import STOP_SECONDS, Health
from scaler.docker.compose import ComposeContainers
from scaler.docker.config import DockerSettings, ScaledService
from scaler.docker.control import Ask, Control
from scaler.docker.engine import Engine
from scaler.docker.meters import Meters
from scaler.docker.swarm import SwarmService
from scaler.docker.workload import Workload

_NOT_READY = ("engine", "unseen", "internal")


@dataclass(frozen=True)
class Known:
    """What outlives a Control of a service at a reload: whose turn it is, and the containers that are being stopped."""

    turn: threading.Lock = field(default_factory=threading.Lock)
    leaving: dict[str, threading.Thread] = field(default_factory=dict)


class Fleet:
    """A thread for each service. The Engine is not asked before `start`, and need not be there then."""

    def __init__(self, settings: DockerSettings | None, ask: Ask, registry: CollectorRegistry, clock: Clock) -> None:
        self._settings = settings or DockerSettings()
        self._ask = ask
        self._clock = clock
        self._meters = Meters(registry)
        self._closed_by: float | None = None
        self._known: dict[str, Known] = {}
        self._swarm: dict[str, str] = {}
        self._controls = [self._control(service, self._settings) for service in self._settings.services]
        registry.register(self)

    def start(self) -> None:
        """Scale from now on."""
        for control in self._controls:
            control.start(self._settings.interval)

    def apply(self, settings: DockerSettings | None) -> None:
        """Take new settings. What was said of a service that did not change stays, its stabilisation included."""
        anew = settings or DockerSettings()
        before, after = ((s.host, s.tls, s.interval, s.dry_run) for s in (self._settings, anew))
        kept = [control for control in self._controls if before == after and control.service in anew.services]
        known = [control.service for control in kept]
        made = [self._control(service, anew) for service in anew.services if service not in known]
        for control in self._controls:
            if control not in kept:
                control.stop()
        self._settings, self._controls = anew, [*kept, *made]
        for control in made:
            control.start(anew.interval)

    def health(self) -> Health:
        """Ready while looks find an Engine that answers; a service that can't be scaled is a fact, each by itself."""
        if not self._controls:
            return Health(True)
        services = {
            control.service.name: {
                "replicas": control.state.replicas,
                "ready": control.state.ready,
                "desired": control.state.desired,
                "problem": _shown(control),
            }
            for control in self._controls
        }
        facts = {"docker": {"dry_run": self._settings.dry_run, "services": services}}
        return Health(all(control.state.reason not in _NOT_READY for control in self._controls), facts)

    def close(self) -> None:
        """End; changes under way are waited for. May be called again, and by several threads."""
        if self._closed_by is None:
            self._closed_by = time.monotonic() + STOP_SECONDS
        for control in self._controls:
            control.stop()
        for control in self._controls:
            control.join(max(0.0, self._closed_by - time.monotonic()))

    def collect(self) -> Iterable[Metric]:
        """The replicas of each service; those not known now are absent."""
        wanted, ready, desired = (
            names.SCALER_DOCKER_REPLICAS.family(),
            names.SCALER_DOCKER_READY.family(),
            names.SCALER_DOCKER_DESIRED.family(),
        )
        for control in self._controls:
            state = control.state
            for family, value in ((wanted, state.replicas), (ready, state.ready), (desired, state.desired)):
                if value is not None:
                    family.add_sample(family.name, {"service": control.service.name}, value)
        yield from (wanted, ready, desired)

    def _control(self, service: ScaledService, settings: DockerSettings) -> Control:
        known = self._known.setdefault(service.name, Known())
        self._meters.follow(service.name)
        workload = _workload(service, settings, known, self._swarm)
        return Control(
            service,
            workload,
            self._ask,
            self._meters,
            self._clock,
            time.monotonic,
            known.turn,
            dry_run=settings.dry_run,
        )


def _shown(control: Control) -> str:
    """The problem, as far as everyone may read it: a metric's own words may show series and values."""
    if control.state.reason == "metric":
        return f"metric {control.service.metric} has no value now that can be trusted: the scaler's log says why"
    return control.state.problem


def _workload(service: ScaledService, settings: DockerSettings, known: Known, swarm: dict[str, str]) -> Workload:
    if service.compose is not None:
        return ComposeContainers(Engine(settings), service.compose, service.max, known.leaving)
    assert service.swarm is not None
    return SwarmService(Engine(settings), service.swarm, swarm)
