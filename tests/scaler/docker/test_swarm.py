"""Swarm services, on a real Engine and on the record of one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from scaler.docker.engine import ChangedMeanwhile, Engine, NotScalable
from scaler.docker.swarm import SwarmService
from scaler.docker.workload import Replicas
from tests.scaler.docker.conftest import Stage
from tests.scaler.docker.engines import IMAGE

SPEC = {
    "Name": "web",
    "Labels": {"team": "shop", "note": "grüße"},
    "TaskTemplate": {
        "ContainerSpec": {"Image": IMAGE, "Env": ["A=b"], "StopSignal": "SIGKILL", "StopGracePeriod": 1500000001},
        "Resources": {"Limits": {"NanoCPUs": 123456789}, "Reservations": {"MemoryBytes": 6291456}},
        "RestartPolicy": {"Condition": "on-failure", "Delay": 100000001, "MaxAttempts": 3},
        "Placement": {"Constraints": ["node.role==manager"], "Preferences": [{"Spread": {"SpreadDescriptor": "zone"}}]},
        "LogDriver": {"Name": "json-file", "Options": {"max-size": "1m"}},
        "Networks": [{"Target": "host"}],
        "ForceUpdate": 7,
    },
    "Mode": {"Replicated": {"Replicas": 2}},
    "UpdateConfig": {"Parallelism": 1, "Delay": 60000000000, "MaxFailureRatio": 0.15, "FailureAction": "rollback"},
    "RollbackConfig": {"Parallelism": 2, "Order": "start-first"},
    "EndpointSpec": {"Mode": "dnsrr"},
}


def _created(stage: Stage, name: str, **changes: Any) -> None:
    stage.others("POST", "/services/create", {**copy.deepcopy(SPEC), "Name": name, **changes})


def _run(stage: Stage, name: str, count: int) -> None:
    stage.until(
        f'/tasks?filters={{"service":["{name}"],"desired-state":["running"]}}',
        lambda tasks: sum(task["Status"]["State"] == "running" for task in tasks) == count,
    )


def _updated(stage: Stage, name: str, change: Callable[[Any], None]) -> None:
    if service := stage.others("GET", f"/services/{name}"):
        change(service["Spec"])
        stage.others("POST", f"/services/{name}/update?version={service['Version']['Index']}", service["Spec"])


def test_only_the_number_of_replicas_changes(stage: Stage) -> None:
    _created(stage, "web")
    _run(stage, "web", 2)
    service = SwarmService(stage.engine, "web", {})
    assert service.read() == Replicas(wanted=2, ready=2)
    before = stage.engine.get("/services/web")["Spec"]
    service.scale(2, 4)
    after = stage.engine.get("/services/web")["Spec"]
    assert before["UpdateConfig"]["MaxFailureRatio"] == 0.15
    assert after.pop("Mode") == {"Replicated": {"Replicas": 4}}
    assert before.pop("Mode") == {"Replicated": {"Replicas": 2}}
    assert after == before
    _run(stage, "web", 4)
    assert service.read() == Replicas(wanted=4, ready=4)
    service.scale(4, 1)
    _run(stage, "web", 1)
    assert service.read() == Replicas(wanted=1, ready=1)


class _Interrupted(Engine):
    """Lets others act between our look and our change, `times` times."""

    def __init__(self, stage: Stage, act: Callable[[], None], times: int) -> None:
        super().__init__(stage.settings)
        self._act, self._times = act, times

    def post(self, path: str, *args: Any, **more: Any) -> Any:
        if self._times:
            self._times -= 1
            self._act()
        return super().post(path, *args, **more)


def _label(stage: Stage, name: str) -> Callable[[], None]:
    return lambda: _updated(stage, name, lambda spec: spec["Labels"].update(note=spec["Labels"]["note"] + "!"))


def test_a_change_by_others_in_between_is_kept(stage: Stage) -> None:
    _created(stage, "busy")
    engine = _Interrupted(stage, _label(stage, "busy"), 2)
    SwarmService(engine, "busy", {}).scale(2, 3)
    engine.close()
    spec = stage.engine.get("/services/busy")["Spec"]
    assert spec["Mode"]["Replicated"]["Replicas"] == 3
    assert spec["Labels"]["note"] == "grüße!!"


def test_a_service_that_others_change_all_the_time_is_left_to_them(stage: Stage) -> None:
    _created(stage, "contended")
    engine = _Interrupted(stage, _label(stage, "contended"), 99)
    with pytest.raises(ChangedMeanwhile, match="5 times in a row"):
        SwarmService(engine, "contended", {}).scale(2, 3)
    engine.close()
    assert stage.engine.get("/services/contended")["Spec"]["Mode"]["Replicated"]["Replicas"] == 2


def test_a_number_that_others_have_set_in_between_wins(stage: Stage) -> None:
    def set_to_nine() -> None:
        _updated(stage, "manual", lambda spec: spec["Mode"]["Replicated"].update(Replicas=9))

    _created(stage, "manual")
    engine = _Interrupted(stage, set_to_nine, 1)
    with pytest.raises(ChangedMeanwhile, match="from 2 to 9 replicas"):
        SwarmService(engine, "manual", {}).scale(2, 3)
    engine.close()
    assert SwarmService(stage.engine, "manual", {}).read().wanted == 9


def test_an_update_under_way_keeps_its_way_back(stage: Stage) -> None:
    """Swarm keeps one previous spec; scaling now would put the new image there, and a rollback would keep it."""
    _created(stage, "rolling")
    _run(stage, "rolling", 2)
    _updated(stage, "rolling", lambda spec: spec["TaskTemplate"]["ContainerSpec"].update(Env=["A=c"]))
    stage.until("/services/rolling", lambda service: service.get("UpdateStatus", {}).get("State") == "updating")
    service = SwarmService(stage.engine, "rolling", {})
    assert "the update of service rolling is updating" in service.read().held
    with pytest.raises(NotScalable, match="take its rollback away"):
        service.scale(2, 3)
    found = stage.engine.get("/services/rolling")
    assert found["PreviousSpec"]["TaskTemplate"]["ContainerSpec"]["Env"] == ["A=b"]
    assert found["Spec"]["Mode"]["Replicated"]["Replicas"] == 2


def test_what_is_no_replicated_service_is_refused(stage: Stage) -> None:
    _created(stage, "everywhere", Mode={"Global": {}})
    with pytest.raises(NotScalable, match="service everywhere is in mode Global"):
        SwarmService(stage.engine, "everywhere", {}).read()
    with pytest.raises(NotScalable, match="there is no Swarm service nowhere"):
        SwarmService(stage.engine, "nowhere", {}).read()


def test_a_task_that_no_node_can_take_is_not_ready(stage: Stage) -> None:
    template = SPEC["TaskTemplate"] | {"Placement": {"Constraints": ["node.role==worker"]}}  # type: ignore[operator]
    _created(stage, "homeless", TaskTemplate=template)
    stage.until('/tasks?filters={"service":["homeless"]}', lambda tasks: len(tasks) == 2)
    assert SwarmService(stage.engine, "homeless", {}).read() == Replicas(wanted=2, ready=0)


def test_a_service_is_found_by_its_whole_name_or_id_alone(stage: Stage) -> None:
    """The Engine finds a service by the beginning of its ID, too, which a name may happen to be."""
    _created(stage, "findme", Mode={"Replicated": {"Replicas": 0}})
    found = stage.engine.get("/services/findme")["ID"]
    assert SwarmService(stage.engine, found, {}).read() == Replicas(0, 0)
    with pytest.raises(NotScalable, match="there is no Swarm service"):
        SwarmService(stage.engine, found[:-1], {}).read()


def test_a_service_named_once_by_its_name_and_once_by_its_id_is_scaled_once(stage: Stage) -> None:
    _created(stage, "twice", Mode={"Replicated": {"Replicas": 0}})
    scaled: dict[str, str] = {}
    first = SwarmService(stage.engine, "twice", scaled)
    assert first.read() == Replicas(0, 0)
    (found,) = scaled
    second = SwarmService(stage.engine, found, scaled)
    with pytest.raises(NotScalable, match="is scaled as twice already: keep one"):
        second.read()
    first.close()
    assert second.read() == Replicas(0, 0)


def test_an_engine_outside_of_a_swarm_is_named(stage: Stage) -> None:
    stage.others("POST", "/swarm/leave?force=1")
    with pytest.raises(NotScalable, match="no manager of a swarm"):
        SwarmService(stage.engine, "web", {}).read()
    stage.others("POST", "/swarm/init", {"ListenAddr": "127.0.0.1:2377", "AdvertiseAddr": "127.0.0.1"})
