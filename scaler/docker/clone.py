"""One more container like a given one of Compose: what to create, or why there can't be another.

It is made from what the Engine says of the container, not from the Compose file, which may not be on this host and may
have changed since. Its labels are the same, the number apart, so that Compose takes it for its own: it lists it, and
removes it with `docker compose down` or when it scales down.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass

from scaler.docker.engine import Fields, NotScalable

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
NUMBER = "com.docker.compose.container-number"
ONE_OFF = "com.docker.compose.oneoff"
CONFIG_HASH = "com.docker.compose.config-hash"
MADE = "cloudpulse.scaler"
"""Our own label, on the containers that we made: with them go their anonymous volumes."""

_REPLACES = "com.docker.compose.replace"
_ANONYMOUS = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Clone:
    """`name`; `body` for `POST /containers/create`; `networks` (name -> endpoint) to connect before the start.

    Engines before API 1.44 create a container with one network only, that of its network mode.
    """

    name: str
    body: Fields
    networks: Fields


def capacity(container: Fields) -> float:
    """How many such containers can be side by side: as many as its narrowest range of host ports, or infinitely many.

    Raises NotScalable for what only one can have: a container_name, a fixed address, a MAC address.
    """
    project, service, number = (container["Config"]["Labels"][label] for label in (PROJECT, SERVICE, NUMBER))
    name = container["Name"].lstrip("/")
    if not re.fullmatch(rf"{re.escape(project)}[-_]{re.escape(service)}[-_]{number}", name):
        raise NotScalable(
            f"container {name} is not named as Compose names replicas: take container_name out of service {service}"
        )
    for network, endpoint in container["NetworkSettings"]["Networks"].items():
        if any((endpoint.get("IPAMConfig") or {}).values()):
            raise NotScalable(
                f"service {service} has a fixed address in network {network}: a second can't have it, too"
            )
    if container["Config"].get("MacAddress"):
        raise NotScalable(f"service {service} has a fixed mac_address: a second can't have it, too")
    bindings = (container["HostConfig"].get("PortBindings") or {}).values()
    return min((_ports(one.get("HostPort", "")) for many in bindings for one in many or ()), default=float("inf"))


def clone(container: Fields, image: str, number: int) -> Clone:
    """Like `container` (as inspected), of `image`, with `number` as its own. Raises NotScalable."""
    capacity(container)
    name = container["Name"].lstrip("/")
    own = re.sub(r"\d+$", str(number), name)
    body = copy.deepcopy(container["Config"])
    host = copy.deepcopy(container["HostConfig"])
    body["Image"] = image
    body["Labels"] = {key: text for key, text in body["Labels"].items() if key != _REPLACES}
    body["Labels"] |= {NUMBER: str(number), MADE: "true"}
    mode = host.get("NetworkMode", "")
    if body.get("Hostname") == container["Id"][:12] or mode.startswith("container:"):
        body.pop("Hostname", None)
    _with_volumes_of_its_own(body, host)
    names = {container["Id"], container["Id"][:12]}
    endpoints = {
        network: _endpoint(endpoint, names, name, own)
        for network, endpoint in container["NetworkSettings"]["Networks"].items()
        if network not in ("host", "none")
    }
    body["HostConfig"] = host
    body["NetworkingConfig"] = {"EndpointsConfig": {mode: endpoints.pop(mode)} if mode in endpoints else {}}
    return Clone(own, body, endpoints)


def _ports(binding: str) -> float:
    """How many host ports a binding may take: "8080" one, "8000-8009" ten, "" any that is free."""
    first, _, last = binding.partition("-")
    if first in ("", "0"):
        return float("inf")
    return int(last or first) - int(first) + 1


def _with_volumes_of_its_own(body: Fields, host: Fields) -> None:
    """Give the clone new anonymous volumes: Compose binds those of a container that it recreates by their long name."""
    volumes = dict(body.get("Volumes") or {})
    binds, mounts = [], []
    for bind in host.get("Binds") or ():
        source, target = bind.split(":")[:2]
        if _ANONYMOUS.fullmatch(source):
            volumes[target] = {}
        else:
            binds.append(bind)
    for mount in host.get("Mounts") or ():
        anonymous = mount["Type"] == "volume" and _ANONYMOUS.fullmatch(mount.get("Source", ""))
        mounts.append({key: value for key, value in mount.items() if key != "Source"} if anonymous else mount)
    body["Volumes"] = volumes or None
    host["Binds"], host["Mounts"] = binds or None, mounts or None


def _endpoint(endpoint: Fields, ids: set[str], name: str, own: str) -> Fields:
    """What was asked for when the container was connected, without what the Engine added: addresses and its ID."""
    aliases = [own if alias == name else alias for alias in endpoint.get("Aliases") or () if alias not in ids]
    asked = {key: endpoint[key] for key in ("Links", "DriverOpts", "GwPriority") if endpoint.get(key)}
    return asked | {"Aliases": aliases}
