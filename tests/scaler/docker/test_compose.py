"""Services of Compose, on a real Engine and on the record of one.

`data/compose-up.jsonl` is what Compose 1.29.2 asked of the Engine for `up --scale web=2`, IDs replaced by names.
"""

from __future__ import annotations

import copy
import json
import threading
from typing import Any

import pytest

from scaler.docker.clone import CONFIG_HASH, MADE, NUMBER, PROJECT, SERVICE
from scaler.docker.compose import ComposeContainers
from scaler.docker.config import ComposeService, DockerSettings
from scaler.docker.engine import ChangedMeanwhile, Engine, EngineRefused, NotScalable
from scaler.docker.workload import Replicas
from tests.scaler.docker.conftest import DATA, Stage
from tests.scaler.docker.engines import IMAGE, Exchange, playing, read

UP = read(DATA / "compose-up.jsonl")
(WEB,) = [one["body"] for one in UP if one["path"].endswith("name=shop_web_1")]


def _containers(
    stage: Stage, project: str, service: str, maximum: int = 9, leaving: dict[str, threading.Thread] | None = None
) -> ComposeContainers:
    leaving = {} if leaving is None else leaving
    return ComposeContainers(stage.engine, ComposeService(project=project, service=service), maximum, leaving)


def _up(stage: Stage, project: str) -> None:
    """What Compose does for its `up`."""
    asked: list[Exchange] = json.loads(json.dumps(UP).replace("shop", project))
    for one in asked:
        stage.others(one["method"], one["path"], one["body"])


def _run(stage: Stage, project: str, service: str, number: int = 1, name: str = "", **changes: Any) -> None:
    """A container as Compose makes them, on no network unless `changes` say so."""
    body = copy.deepcopy(WEB)
    body["Labels"] |= {PROJECT: project, SERVICE: service, NUMBER: str(number)} | changes.pop("Labels", {})
    body |= {"NetworkingConfig": {}, "HostConfig": {"NetworkMode": "none"}} | changes
    name = name or f"{project}_{service}_{number}"
    stage.others("POST", f"/containers/create?name={name}", body)
    stage.others("POST", f"/containers/{name}/start")


def test_more_containers_are_like_those_of_compose_and_the_highest_go_first(stage: Stage) -> None:
    _up(stage, "like")
    web = _containers(stage, "like", "web")
    assert web.read() == Replicas(wanted=2, ready=2)
    web.scale(2, 4)
    assert web.read() == Replicas(wanted=4, ready=4)
    theirs, ours = (stage.engine.get(f"/containers/like_web_{number}/json") for number in (2, 4))
    assert ours["State"]["Running"]
    assert ours["HostConfig"] == theirs["HostConfig"]
    assert ours["Config"]["Labels"] == theirs["Config"]["Labels"] | {NUMBER: "4", MADE: "true"}
    same = ("Env", "Cmd", "Image", "Volumes", "ExposedPorts", "StopSignal")
    assert {key: ours["Config"][key] for key in same} == {key: theirs["Config"][key] for key in same}
    (scratch,), (other_scratch,) = (
        [mount["Name"] for mount in container["Mounts"] if mount["Destination"] == "/scratch"]
        for container in (ours, theirs)
    )
    assert scratch != other_scratch
    for network in ("like_default", "like_back"):
        aliases, other_aliases = (one["NetworkSettings"]["Networks"][network]["Aliases"] for one in (ours, theirs))
        assert set(aliases) - {ours["Id"][:12]} == set(other_aliases) - {theirs["Id"][:12]}

    web.scale(4, 1)
    assert web.read() == Replicas(wanted=1, ready=1)
    stage.stopping.set()
    web.close()
    assert [one["Names"] for one in stage.engine.get("/containers/json", {"name": ["like_web"]}, all=1)] == [
        ["/like_web_1"]
    ]
    volumes = {one["Name"] for one in stage.engine.get("/volumes")["Volumes"]}
    assert {"like_data", other_scratch} <= volumes, "what Compose made is left as Compose leaves it"
    assert scratch not in volumes, "a volume without a name goes with the container that we made"


def test_the_anonymous_volume_of_a_recreated_container_is_not_shared(stage: Stage) -> None:
    """Compose gives a container that it makes anew the old one's volume by its name of 64 hexadecimal digits."""
    name = "5e" * 32
    host = {"NetworkMode": "none", "Binds": [f"{name}:/scratch:rw"]}
    _run(stage, "again", "web", HostConfig=host, Volumes={"/scratch": {}})
    _containers(stage, "again", "web").scale(1, 2)
    (mount,) = stage.engine.get("/containers/again_web_2/json")["Mounts"]
    assert mount["Destination"] == "/scratch"
    assert mount["Name"] != name


def test_a_fixed_host_port_is_refused(stage: Stage) -> None:
    ports = {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8088"}]}
    _run(stage, "port", "web", HostConfig={"PortBindings": ports})
    with pytest.raises(NotScalable, match="host port that 1 can have at a time, and max is 9"):
        _containers(stage, "port", "web").scale(1, 2)
    assert len(stage.engine.get("/containers/json", {"name": ["port_web"]}, all=1)) == 1


def test_a_container_name_is_refused(stage: Stage) -> None:
    _run(stage, "named", "web", name="frontend")
    with pytest.raises(NotScalable, match="take container_name out of service web"):
        _containers(stage, "named", "web").read()


def test_a_fixed_address_is_refused(stage: Stage) -> None:
    pool = [{"Subnet": "10.99.0.0/24"}]
    stage.others("POST", "/networks/create", {"Name": "addressed_net", "IPAM": {"Config": pool}})
    fixed = {"addressed_net": {"IPAMConfig": {"IPv4Address": "10.99.0.7"}}}
    _run(
        stage,
        "addressed",
        "web",
        HostConfig={"NetworkMode": "addressed_net"},
        NetworkingConfig={"EndpointsConfig": fixed},
    )
    with pytest.raises(NotScalable, match="fixed address in network addressed_net"):
        _containers(stage, "addressed", "web").read()


def test_a_container_that_can_not_start_is_not_left_behind(stage: Stage) -> None:
    """A range of two ports, of which someone else has the second."""
    stage.others("POST", "/networks/create", {"Name": "range_net"})
    ports = {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8100-8101"}]}
    taken = {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8101"}]}
    _run(stage, "other", "db", HostConfig={"NetworkMode": "range_net", "PortBindings": taken})
    _run(stage, "range", "web", HostConfig={"NetworkMode": "range_net", "PortBindings": ports})
    web = _containers(stage, "range", "web", maximum=2)
    with pytest.raises(EngineRefused, match="all ports are allocated"):
        web.scale(1, 2)
    assert web.read() == Replicas(wanted=1, ready=1)


def test_what_a_scaler_has_left_unfinished_is_cleared_away(stage: Stage) -> None:
    """It was killed between the creation of a container and its start."""
    _run(stage, "half", "web", 1)
    labels = WEB["Labels"] | {PROJECT: "half", SERVICE: "web", NUMBER: "2", MADE: "true"}
    body = {"Image": IMAGE, "HostConfig": {"NetworkMode": "none"}, "Labels": labels}
    stage.others("POST", "/containers/create?name=half_web_2", body)
    web = _containers(stage, "half", "web")
    assert web.read() == Replicas(wanted=1, ready=1)
    web.scale(1, 2)
    assert web.read() == Replicas(wanted=2, ready=2)
    assert len(stage.engine.get("/containers/json", {"name": ["half_web"]}, all=1)) == 2


def test_a_stopped_service_stays_stopped(stage: Stage) -> None:
    _run(stage, "stopped", "web")
    stage.others("POST", "/containers/stopped_web_1/stop")
    assert _containers(stage, "stopped", "web").read() == Replicas(wanted=0, ready=0)


def test_a_stopped_container_counts_and_goes_first(stage: Stage) -> None:
    """It may have been stopped a moment ago by Compose, which stops a service's containers one after the other."""
    for number in (1, 2, 3):
        _run(stage, "crashed", "web", number)
    stage.others("POST", "/containers/crashed_web_1/stop")
    web = _containers(stage, "crashed", "web")
    assert web.read() == Replicas(wanted=3, ready=2)
    web.scale(3, 2)
    stage.removed()
    assert web.read() == Replicas(wanted=2, ready=2)


def test_what_is_still_stopped_at_the_next_look_counts_no_more_and_is_named(stage: Stage) -> None:
    for number in (1, 2, 3):
        _run(stage, "idle", "web", number)
    stage.others("POST", "/containers/idle_web_3/stop")
    web = _containers(stage, "idle", "web")
    assert web.read() == Replicas(wanted=3, ready=2)
    seen = web.read()
    assert (seen.wanted, seen.ready, seen.held) == (2, 2, "")
    assert "idle_web_3 has stopped and doesn't count" in seen.problem
    web.scale(2, 3)
    assert web.read().wanted == 3
    left = stage.engine.get("/containers/json", {"name": ["idle_web"]}, all=1)
    assert sorted(one["Names"][0] for one in left) == [f"/idle_web_{number}" for number in (1, 2, 3, 4)], (
        "what Compose made is left to Compose"
    )


def test_what_we_made_and_has_stopped_goes_with_the_next_change(stage: Stage) -> None:
    """A scaler that ended within a grace period has left it, or it died."""
    _run(stage, "left", "web", 1)
    web = _containers(stage, "left", "web")
    web.scale(1, 4)
    for number in (2, 3):
        stage.others("POST", f"/containers/left_web_{number}/stop")
    after_a_restart = _containers(stage, "left", "web")
    assert after_a_restart.read() == Replicas(wanted=4, ready=2)
    seen = after_a_restart.read()
    assert (seen.wanted, seen.ready) == (2, 2)
    assert "left_web_2 and left_web_3 have stopped and don't count" in seen.problem
    after_a_restart.scale(2, 3)
    assert after_a_restart.read() == Replicas(wanted=3, ready=3)
    left = stage.engine.get("/containers/json", {"name": ["left_web"]}, all=1)
    assert sorted(one["Names"][0] for one in left) == [f"/left_web_{number}" for number in (1, 4, 5)]


def test_the_next_on_the_same_service_does_not_count_who_is_leaving(stage: Stage) -> None:
    """A reload in the middle of a scale-down."""
    for number in (1, 2, 3):
        _run(stage, "reload", "web", number)
    leaving: dict[str, threading.Thread] = {}
    _containers(stage, "reload", "web", leaving=leaving).scale(3, 1)
    assert _containers(stage, "reload", "web", leaving=leaving).read() == Replicas(wanted=1, ready=1)
    stage.removed()
    assert leaving == {}


def test_a_container_that_is_being_removed_counts_no_more() -> None:
    """What a real Engine said of three, one of them stopped, as if that were on its way out."""
    record = read(DATA / "test_a_stopped_container_counts_and_goes_first.jsonl")[:4]
    record = json.loads(json.dumps(record).replace('"State": "exited"', '"State": "removing"'))
    with playing(record, threading.Event()) as path:
        engine = Engine(DockerSettings(host=f"unix://{path}"))
        web = ComposeContainers(engine, ComposeService(project="crashed", service="web"), 9, {})
        assert web.read() == Replicas(wanted=2, ready=2)
        web.close()


def test_an_unhealthy_container_is_not_ready(stage: Stage) -> None:
    check = {"Test": ["CMD", "/nosuch"], "Interval": 100000000, "Retries": 1}
    _run(stage, "sick", "web", 1)
    _run(stage, "sick", "web", 2, Healthcheck=check)
    stage.until("/containers/sick_web_2/json", lambda one: one["State"]["Health"]["Status"] == "unhealthy")
    assert _containers(stage, "sick", "web").read() == Replicas(wanted=2, ready=1)


def test_containers_that_compose_is_replacing_are_left_alone(stage: Stage) -> None:
    _run(stage, "mixed", "web", 1)
    _run(stage, "mixed", "web", 2, Labels={CONFIG_HASH: "another"})
    web = _containers(stage, "mixed", "web")
    assert "Compose is replacing them" in web.read().held
    with pytest.raises(NotScalable, match="Compose is replacing them"):
        web.scale(2, 3)


def test_one_off_containers_and_other_services_are_never_touched(stage: Stage) -> None:
    _run(stage, "careful", "web", 1)
    _run(stage, "careful", "worker", 1)
    _run(stage, "careful", "web", 2, name="careful_web_run_1", Labels={"com.docker.compose.oneoff": "True"})
    web = _containers(stage, "careful", "web")
    assert web.read() == Replicas(wanted=1, ready=1)
    web.scale(1, 2)
    web.scale(2, 1)
    stage.removed()
    left = stage.engine.get("/containers/json", {"name": ["careful_"]})
    assert sorted(one["Names"][0] for one in left) == ["/careful_web_1", "/careful_web_run_1", "/careful_worker_1"]


def test_a_service_that_has_vanished_or_changed_is_said(stage: Stage) -> None:
    with pytest.raises(NotScalable, match="no container of service web of Compose project vanished"):
        _containers(stage, "vanished", "web").read()
    _run(stage, "vanished", "web", 1)
    with pytest.raises(ChangedMeanwhile, match="from 3 to 1 containers"):
        _containers(stage, "vanished", "web").scale(3, 4)
