"""A replicated service of Docker Swarm.

Only `Mode.Replicated.Replicas` changes: the spec goes back as the Engine gave it, with the version it was read at, so
that a change by someone else in between is never overwritten (the Engine answers "update out of sequence").

Swarm keeps one previous spec, and each update replaces it, ours as well as `docker service scale`. So a service is left
alone while an update of it runs, is paused or is being rolled back: scaling it would take the rollback away and set a
paused update going again. Outside of that, `docker service rollback` undoes the last scaling, not the deploy before it.
"""

from __future__ import annotations

import copy
from urllib.parse import quote

from scaler.docker.engine import ChangedMeanwhile, Engine, EngineRefused, Fields, NotScalable
from scaler.docker.workload import Replicas

TRIES = 5
"""A rolling update, or a task that changes state, raises the version too: reading again is all it takes."""

_UNDER_WAY = {"updating", "paused", "rollback_started", "rollback_paused"}


class SwarmService:
    """A Workload; `name` is the service's full name or full ID.

    `scaled` has the services that are scaled here, by ID, and under which name: a second one is refused the same.
    """

    def __init__(self, engine: Engine, name: str, scaled: dict[str, str]) -> None:
        self._engine = engine
        self._name = name
        self._scaled = scaled

    def read(self) -> Replicas:
        """Tasks are ready when they run; Swarm calls a task with a health check running once it is healthy."""
        service = self._inspect()
        tasks = self._engine.get("/tasks", {"service": [service["ID"]], "desired-state": ["running"]})
        ready = sum(task["Status"]["State"] == "running" for task in tasks)
        return Replicas(_replicas(service), ready, _held(service))

    def scale(self, seen: int, replicas: int) -> None:
        """Tried again with a fresh spec while only the version has moved."""
        for _ in range(TRIES):
            service = self._inspect()
            if (now := _replicas(service)) != seen:
                raise ChangedMeanwhile(f"someone else has set service {self._name} from {seen} to {now} replicas")
            if held := _held(service):
                raise NotScalable(held)
            spec = copy.deepcopy(service["Spec"])
            spec["Mode"]["Replicated"]["Replicas"] = replicas
            try:
                self._engine.post(f"/services/{service['ID']}/update", spec, version=service["Version"]["Index"])
            except EngineRefused as refused:
                if "out of sequence" not in str(refused):
                    raise
            else:
                return
        raise ChangedMeanwhile(f"service {self._name} is being changed by someone else, {TRIES} times in a row")

    def close(self) -> None:
        """Let go of the connections, and of the service."""
        for found, name in list(self._scaled.items()):
            if name == self._name:
                self._scaled.pop(found, None)
        self._engine.close()

    def _inspect(self) -> Fields:
        try:
            service: Fields = self._engine.get(f"/services/{quote(self._name, safe='')}")
        except EngineRefused as refused:
            if refused.status == 404:
                raise NotScalable(f"there is no Swarm service {self._name}: see docker service ls") from refused
            if refused.status == 503:
                raise NotScalable(f"the Docker Engine is no manager of a swarm ({refused})") from refused
            raise
        if self._name not in (service["Spec"]["Name"], service["ID"]):  # the Engine also finds by the ID's beginning
            raise NotScalable(f"there is no Swarm service {self._name}: see docker service ls")
        if (first := self._scaled.setdefault(service["ID"], self._name)) != self._name:
            raise NotScalable(f"service {self._name} is scaled as {first} already: keep one, or the two would fight")
        if "Replicated" not in service["Spec"]["Mode"]:
            mode = next(iter(service["Spec"]["Mode"]), "unknown")
            raise NotScalable(
                f"service {self._name} is in mode {mode}, which has no number of replicas to set: "
                "deploy it as replicated, or take it out of scaler.docker"
            )
        return service


def _replicas(service: Fields) -> int:
    """How many there are to be; the API's default is 1 when the field is left out."""
    return int(service["Spec"]["Mode"]["Replicated"].get("Replicas", 1))


def _held(service: Fields) -> str:
    state = (service.get("UpdateStatus") or {}).get("State", "")
    if state not in _UNDER_WAY:
        return ""
    name = service["Spec"]["Name"]
    return f"the update of service {name} is {state.replace('_', ' ')}: scaling it now would take its rollback away"
