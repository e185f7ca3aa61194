"""A service of Docker Compose: the containers that carry its labels.

Compose keeps no number of replicas anywhere, so that the number of its containers is the number wanted. One that has
stopped is not started (that is its restart policy's and the user's business). It counts at the first look that finds
it so, since Compose may be stopping, restarting or replacing the service right then; from the next look on it doesn't,
and is named as a problem. With none running the service is stopped, and stays so.

Up: copies of the highest-numbered container that runs (`scaler/docker/clone.py`) are created, connected and started.
Down: those go first that don't run, then the highest numbers; each is stopped with its own grace period beside the
others, and not counted from then on. Either way containers that we made go, too, when they count no more: those that
died, and those that a scaler which ended within their grace period has left.

Limits: `docker compose up` sets the number that the Compose file says (1 if it says none), and the next interval starts
from there; say `deploy.replicas` at least as `min`, or use `--no-recreate --scale`. A service with a fixed host port,
`container_name`, address or MAC address can't have a second container and is refused; a range of host ports bounds
`max`. With `network_mode: host` whether two can listen side by side isn't known here. While the containers of a service
differ in their configuration, Compose is replacing them, and they are left alone.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from urllib.parse import quote

from cloudpulse import logs
from scaler.docker.clone import CONFIG_HASH, MADE, NUMBER, ONE_OFF, PROJECT, SERVICE, Clone, capacity, clone
from scaler.docker.config import ComposeService
from scaler.docker.engine import ChangedMeanwhile, Engine, EngineError, EngineRefused, Fields, NotScalable
from scaler.docker.workload import Replicas

GRACE_SECONDS = 10
"""The Engine's own time between SIGTERM and SIGKILL, for a container that names none."""

_MARGIN_SECONDS = 20
_MAKING_SECONDS = 60.0
"""Creating copies the image's files where the Engine's storage can't share them."""

_GONE = ("removing", "dead")

log = logs.get(__name__)


class ComposeContainers:
    """A Workload that never has more than `maximum` containers. Stops run in threads of their own.

    `leaving` has them by container; the one that takes over the service shares it, and counts those no more either.
    """

    def __init__(
        self, engine: Engine, service: ComposeService, maximum: int, leaving: dict[str, threading.Thread]
    ) -> None:
        self._engine = engine
        self._service = service
        self._maximum = maximum
        self._leaving = leaving
        self._stopped: set[str] = set()
        self._idle: set[str] = set()
        self._template: Fields = {}

    def read(self) -> Replicas:
        """A container is ready when it runs and its health check, if it has one, passes.

        Raises NotScalable where `maximum` containers can't be side by side, before one more is needed.
        """
        found = self._containers()
        running = [one for one in found if one["State"] == "running"]
        stopped = {one["Id"] for one in found if one["State"] == "exited"} if running else set()
        self._idle, self._stopped = stopped & self._stopped, stopped
        if not running:
            return Replicas(0, 0)
        self._template_of(running)
        healthy = {one["Id"] for one in self._listed({"status": ["running"], "health": ["healthy", "none"]})}
        counted, idle = self._told_apart(found)
        return Replicas(len(counted), sum(one["Id"] in healthy for one in running), _held(counted), _problem(idle))

    def scale(self, seen: int, replicas: int) -> None:
        """Raises NotScalable before anything is made."""
        counted, idle = self._told_apart(self._containers())
        if len(counted) != seen:
            raise ChangedMeanwhile(f"{self._title} has gone from {seen} to {len(counted)} containers meanwhile")
        if held := _held(counted):
            raise NotScalable(held)
        if not any(one["State"] == "running" for one in counted):
            raise ChangedMeanwhile(f"{self._title} has been stopped meanwhile")
        theirs = self._without_ours(idle)
        if replicas > seen:
            self._grow(counted, replicas - seen, max(map(_number, counted + theirs)) + 1)
        for one in _first_to_go(counted)[: max(0, seen - replicas)]:
            stop = threading.Thread(target=self._remove, args=(one,), name=f"stop {_name(one)}", daemon=True)
            self._leaving[one["Id"]] = stop
            stop.start()

    def close(self) -> None:
        """Let go of the connections, after the stops under way, so that none is left stopped."""
        for stop in list(self._leaving.values()):
            stop.join()
        self._engine.close()

    @property
    def _title(self) -> str:
        return f"service {self._service.service} of Compose project {self._service.project}"

    def _containers(self) -> list[Fields]:
        """All of the service by rising number, apart from those of `docker compose run` and those that come or go."""
        leaving = set(self._leaving)  # before the list is: what is gone by then must not count
        found = [one for one in self._listed({}) if one["Id"] not in leaving and one["State"] not in _GONE]
        found = [one for one in found if not _unfinished(one)]
        if not found:
            raise NotScalable(f"there is no container of {self._title}: see docker compose ps --all")
        try:
            return sorted(found, key=_number)
        except (KeyError, ValueError) as error:
            raise NotScalable(f"a container of {self._title} has no number: was it made by Compose?") from error

    def _told_apart(self, found: list[Fields]) -> tuple[list[Fields], list[Fields]]:
        """Those that count, and those that two looks have found stopped and that still are."""
        idle = [one for one in found if one["Id"] in self._idle and one["State"] == "exited"]
        return [one for one in found if one not in idle], idle

    def _without_ours(self, idle: list[Fields]) -> list[Fields]:
        """Remove what we made and is of no use: of `idle`, of which the rest is returned, and the unfinished."""
        unfinished = filter(_unfinished, self._listed({"status": ["created"]}))
        for one in (*unfinished, *filter(_ours, idle)):
            self._engine.delete(f"/containers/{one['Id']}", force=1, v=1)
        return [one for one in idle if not _ours(one)]

    def _listed(self, filters: dict[str, list[str]]) -> list[Fields]:
        named = {PROJECT: self._service.project, SERVICE: self._service.service, ONE_OFF: "False"}
        labels = [f"{label}={value}" for label, value in named.items()]
        found: list[Fields] = self._engine.get("/containers/json", {"label": labels, **filters}, all=1)
        return found

    def _template_of(self, running: list[Fields]) -> Fields:
        """The highest-numbered of `running`, inspected, of which there can be enough."""
        newest = running[-1]["Id"]
        if self._template.get("Id") != newest:
            self._template = self._engine.get(f"/containers/{newest}/json")
        if (most := capacity(self._template)) < self._maximum:
            raise NotScalable(
                f"{self._title} publishes a host port that {most:g} can have at a time, and max is {self._maximum}: "
                "publish a range of ports, or none and put a proxy in front"
            )
        return self._template

    def _grow(self, containers: list[Fields], more: int, first: int) -> None:
        """`more` than `containers`, numbered from `first` on."""
        self._template = {}  # networks may have been connected since
        template = self._template_of([one for one in containers if one["State"] == "running"])
        image = self._image(template)
        for number in range(first, first + more):
            self._start(clone(template, image, number))

    def _image(self, container: Fields) -> str:
        """By name, as Compose does, while the name still means the image of the others; else by ID."""
        name: str = container["Config"]["Image"]
        try:
            same = self._engine.get(f"/images/{quote(name, safe='/:@')}/json")["Id"] == container["Image"]
        except EngineRefused:
            same = False
        return name if same else str(container["Image"])

    def _start(self, new: Clone) -> None:
        made = self._engine.post("/containers/create", new.body, _MAKING_SECONDS, name=new.name)["Id"]
        with self._removed_on_failure(made):
            for network, endpoint in new.networks.items():
                body = {"Container": made, "EndpointConfig": endpoint}
                self._engine.post(f"/networks/{quote(network, safe='')}/connect", body)
            self._engine.post(f"/containers/{made}/start", timeout=_MAKING_SECONDS)
        log.info("container started", service=self._name, container=new.name, id=made[:12])

    @contextlib.contextmanager
    def _removed_on_failure(self, made: str) -> Iterator[None]:
        try:
            yield
        except EngineError:
            with contextlib.suppress(EngineError):  # the first failure is the one to tell
                self._engine.delete(f"/containers/{made}", force=1, v=1)
            raise

    def _remove(self, container: Fields) -> None:
        engine, name = self._engine.another(), _name(container)
        try:
            grace = engine.get(f"/containers/{container['Id']}/json")["Config"].get("StopTimeout")
            wait = (GRACE_SECONDS if grace is None else grace) + _MARGIN_SECONDS
            engine.post(f"/containers/{container['Id']}/stop", timeout=wait)
            engine.delete(f"/containers/{container['Id']}", v=int(_ours(container)))
            log.info("container removed", service=self._name, container=name, id=container["Id"][:12])
        except EngineRefused as refused:
            if refused.status not in (404, 409):  # gone already, or going
                log.error("container not removed", service=self._name, container=name, error=str(refused))
        except EngineError as error:
            log.error("container not removed", service=self._name, container=name, error=str(error))
        finally:
            engine.close()
            del self._leaving[container["Id"]]

    @property
    def _name(self) -> str:
        return f"{self._service.project}/{self._service.service}"


def _held(containers: list[Fields]) -> str:
    if len({one["Labels"].get(CONFIG_HASH) for one in containers}) == 1:
        return ""
    labels = containers[0]["Labels"]
    return (
        f"the containers of service {labels[SERVICE]} of Compose project {labels[PROJECT]} differ in configuration: "
        "Compose is replacing them, or docker compose up has to finish it"
    )


def _problem(idle: list[Fields]) -> str:
    if not idle:
        return ""
    names = " and ".join(map(_name, idle))
    verbs = "has stopped and doesn't" if len(idle) == 1 else "have stopped and don't"
    what_to_do = "see docker logs; docker compose up starts what Compose made"
    if all(map(_ours, idle)):
        what_to_do = "see docker logs until the next change of the number, with which we remove what we made"
    return f"{names} {verbs} count: {what_to_do}"


def _ours(container: Fields) -> bool:
    return MADE in container["Labels"]


def _unfinished(container: Fields) -> bool:
    """Whether we made it and were ended before it was started."""
    return container["State"] == "created" and _ours(container)


def _first_to_go(containers: list[Fields]) -> list[Fields]:
    return sorted(containers, key=lambda one: (one["State"] == "running", -_number(one)))


def _number(container: Fields) -> int:
    return int(container["Labels"][NUMBER])


def _name(container: Fields) -> str:
    return str(container["Names"][0]).lstrip("/")
