"""All services together: start, reload, health, series, end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from cloudpulse.testing import FakeClock
from scaler.config import ScalerSettings
from scaler.docker import fleet as module
from scaler.docker.config import DockerSettings
from scaler.docker.engine import EngineUnavailable, NotScalable
from scaler.docker.fleet import Fleet
from scaler.docker.workload import Replicas
from scaler.evaluation import Item
from scaler.provider import Answer
from scaler.refusal import unavailable
from scaler.selector import Selector

METRICS = "metrics: [{name: ahead, api: external, query: q}, {name: gone, api: external, query: q}]\n"
WEB = "{swarm: web, metric: ahead, target: 100, max: 9}"
API = "{compose: {project: shop, service: api}, metric: ahead, target: 100, max: 9}"
BAD = "{swarm: bad, metric: gone, target: 100, max: 9}"


class Host:
    """The services of a host as workloads; `entered` and `leave` hold a change under way."""

    def __init__(self) -> None:
        self.wanted = {"web": 4, "shop/api": 2, "bad": 3}
        self.error: Exception | None = None
        self.leaving: dict[str, list[dict[str, threading.Thread]]] = {}
        self.entered, self.leave = threading.Event(), threading.Event()
        self.leave.set()

    def workload(self, service: Any, settings: DockerSettings, known: module.Known, swarm: dict[str, str]) -> _Workload:
        self.leaving.setdefault(service.name, []).append(known.leaving)
        return _Workload(self, service.name)


class _Workload:
    def __init__(self, host: Host, name: str) -> None:
        self._host, self._name = host, name

    def read(self) -> Replicas:
        if self._host.error is not None:
            raise self._host.error
        if self._name not in self._host.wanted:
            raise NotScalable(f"there is no service {self._name}")
        return Replicas(self._host.wanted[self._name], 1)

    def scale(self, seen: int, replicas: int) -> None:
        self._host.entered.set()
        self._host.leave.wait(10)
        self._host.wanted[self._name] = replicas

    def close(self) -> None:
        """Nothing to close."""


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host()
    monkeypatch.setattr(module, "_workload", host.workload)
    return host


@pytest.fixture
def fleet_of(settings_of: Callable[[str], ScalerSettings], host: Host) -> Iterator[Callable[..., Fleet]]:
    made: list[Fleet] = []
    clock = FakeClock()

    def ask(metric: str, series: Selector) -> Answer:
        if metric == "gone":
            raise unavailable('the value is NaN (series {customer="secret"})')
        return Answer(settings_of(METRICS).metrics[0], [Item({}, 400.0, clock.now, "400")])

    def make(registry: CollectorRegistry | None = None, *services: str) -> Fleet:
        fleet = Fleet(docker(*services), ask, registry or CollectorRegistry(), clock)
        made.append(fleet)
        return fleet

    def docker(*services: str, more: str = "interval: 1s") -> DockerSettings | None:
        return settings_of(f"{METRICS}docker: {{{more}, services: [{', '.join(services)}]}}").docker

    make.docker = docker  # type: ignore[attr-defined]
    yield make
    host.leave.set()
    for fleet in made:
        fleet.close()


def _look(fleet: Fleet) -> None:
    for control in fleet._controls:
        control.look()


def test_without_services_nothing_is_said(host: Host) -> None:
    fleet = Fleet(None, lambda metric, series: pytest.fail("asked"), CollectorRegistry(), FakeClock())
    assert (fleet.health().ready, fleet.health().facts) == (True, {})
    fleet.start()
    fleet.close()


def test_health_and_series_show_each_service(fleet_of: Callable[..., Fleet], host: Host) -> None:
    registry = CollectorRegistry()
    fleet = fleet_of(registry, WEB, API, BAD)
    assert not fleet.health().ready
    del host.wanted["shop/api"]
    _look(fleet)
    health = fleet.health()
    assert health.ready
    services: Any = health.facts["docker"]["services"]  # type: ignore[index]
    assert services["web"] == {"replicas": 4, "ready": 1, "desired": 4, "problem": ""}
    assert services["shop/api"]["problem"] == "there is no service shop/api"
    assert "no value now that can be trusted" in services["bad"]["problem"]
    assert "secret" not in str(services), "everyone may read /health"

    def shown(series: str) -> dict[str, float | None]:
        name = f"cloudpulse_scaler_docker_{series}"
        return {service: registry.get_sample_value(name, {"service": service}) for service in services}

    assert shown("replicas") == {"web": 4, "shop/api": None, "bad": 3}
    assert shown("desired_replicas") == {"web": 4, "shop/api": None, "bad": None}


def test_changes_are_counted_from_0_so_that_increase_sees_the_first(fleet_of: Callable[..., Fleet], host: Host) -> None:
    registry = CollectorRegistry()
    fleet_of(registry, WEB)
    for direction in ("up", "down"):
        labels = {"service": "web", "direction": direction}
        assert registry.get_sample_value("cloudpulse_scaler_docker_changes_total", labels) == 0


def test_is_not_ready_while_the_engine_is_away(fleet_of: Callable[..., Fleet], host: Host) -> None:
    fleet = fleet_of(None, WEB)
    host.error = EngineUnavailable("the Docker Engine can't be reached: refused")
    _look(fleet)
    assert not fleet.health().ready
    host.error = None
    _look(fleet)
    assert fleet.health().ready


def test_a_reload_keeps_what_did_not_change_and_lets_go_of_the_rest(fleet_of: Callable[..., Fleet], host: Host) -> None:
    fleet = fleet_of(None, WEB, API)
    fleet.start()
    web, api = fleet._controls
    fleet.apply(fleet_of.docker(WEB, BAD))  # type: ignore[attr-defined]
    assert fleet._controls[0] is web
    assert [control.service.name for control in fleet._controls] == ["web", "bad"]
    api.join(10)
    assert not api._thread.is_alive()
    fleet.apply(fleet_of.docker(WEB, more="dry_run: true, interval: 1s"))  # type: ignore[attr-defined]
    assert fleet._controls[0] is not web
    fleet.apply(None)
    assert fleet.health().facts == {}


def test_is_not_ready_while_a_look_ends_in_an_error_of_our_own(fleet_of: Callable[..., Fleet], host: Host) -> None:
    fleet = fleet_of(None, WEB)
    host.error = RuntimeError("a bug")
    _look(fleet)
    assert not fleet.health().ready


def test_who_is_leaving_a_service_is_known_after_a_reload_too(fleet_of: Callable[..., Fleet], host: Host) -> None:
    fleet = fleet_of(None, WEB, API)
    fleet.apply(fleet_of.docker(WEB, API, more="dry_run: true, interval: 1s"))  # type: ignore[attr-defined]
    (before, after), (web, _) = host.leaving["shop/api"], host.leaving["web"]
    assert before is after
    assert before is not web


def test_services_are_looked_at_again_and_again_by_themselves(fleet_of: Callable[..., Fleet], host: Host) -> None:
    fleet = fleet_of(None, API)
    fleet.start()
    deadline = time.monotonic() + 20
    while host.wanted["shop/api"] != 4:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    host.wanted["shop/api"] = 3
    while host.wanted["shop/api"] != 4:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_end_waits_for_a_change_under_way(fleet_of: Callable[..., Fleet], host: Host) -> None:
    host.leave.clear()
    fleet = fleet_of(None, API)
    fleet.start()
    assert host.entered.wait(20)
    threading.Timer(0.2, host.leave.set).start()
    fleet.close()
    assert host.wanted["shop/api"] == 4
