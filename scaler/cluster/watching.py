"""Keeps the cluster's word on whom to trust up to date, in a thread of its own: list, then watch, for ever."""

from __future__ import annotations

import math
import random
import threading
import time

from cloudpulse import logs
from cloudpulse.clock import Clock
from cloudpulse.errors import CloudPulseError
from scaler.cluster.api import ClusterApi, ClusterRefused, ClusterUnavailable
from scaler.cluster.trust import Trust

NAME = "extension-apiserver-authentication"
PATH = "/api/v1/namespaces/kube-system/configmaps"
WATCH_SECONDS = 60
"""How long one watch lasts; a connection that died unseen is noticed soon after."""
HELD_SECONDS = 5.0
"""A watch that lasted so long works; one that ended sooner is followed by a pause, longer after each."""
LONGEST_PAUSE = 15.0

log = logs.get(__name__)


class TrustWatch:
    """The last known `Trust`; it is kept when the Kubernetes API is away, so that discovery goes on.

    What can't be read changes nothing: a half-written ConfigMap must not lock everyone out, nor let anyone in.
    """

    def __init__(
        self, api: ClusterApi, clock: Clock, shortest_pause: float = 0.5, ticks: Clock = time.monotonic
    ) -> None:
        self._api = api
        self._ticks = ticks
        self._clock = clock
        self._shortest_pause = shortest_pause
        self._stop = threading.Event()
        self._trust: Trust | None = None
        self._problem = "the Kubernetes API has not been asked yet"

    @property
    def trust(self) -> Trust | None:
        """None until it was read once."""
        return self._trust

    @property
    def problem(self) -> str:
        """Why `trust` may be out of date, for people; "" while the watch holds."""
        return self._problem

    def pem(self) -> str:
        """All CAs, "" before they are known: then TLS lets no client certificate in."""
        return self._trust.pem if self._trust else ""

    def start(self) -> None:
        """Watch from now on."""
        threading.Thread(target=self._repeat, name="trust", daemon=True).start()

    def stop(self) -> None:
        """End; a watch under way is not waited for."""
        self._stop.set()

    def _repeat(self) -> None:
        pause, version = self._shortest_pause, None
        while not self._stop.is_set():
            began = math.inf
            try:
                version = self._list() if version is None else version
                began = self._ticks()
                version = self._follow(version)
            except Exception as error:  # a dead thread would mean CAs that are never rotated
                version, told, self._problem = None, self._problem, _problem(error)
                if self._problem != told:
                    log.warning("trust not watched", error=str(error), exc_info=not isinstance(error, CloudPulseError))
            held = self._ticks() - began >= HELD_SECONDS
            if held:
                pause = self._shortest_pause
            if not held or version is None:
                self._stop.wait(pause * random.uniform(0.5, 1))
                pause = min(2 * pause, LONGEST_PAUSE)

    def _known(self) -> None:
        if self._problem:
            log.info("trust known", configmap=f"kube-system/{NAME}")
        self._problem = ""

    def _list(self) -> str:
        found = self._api.get(PATH, {"fieldSelector": f"metadata.name={NAME}"})
        if not found["items"]:
            missing = f"there is no ConfigMap kube-system/{NAME}"
            raise ClusterUnavailable(missing, missing)
        for item in found["items"]:
            self._take(item)
        return str(found["metadata"]["resourceVersion"])

    def _follow(self, version: str) -> str:
        """Watch once, from `version` on; returns the version to go on from."""
        query = {"fieldSelector": f"metadata.name={NAME}", "resourceVersion": version}
        events = self._api.events(PATH, query, WATCH_SECONDS)
        self._known()
        for event in events:
            changed = event["object"]
            if event["type"] == "ERROR":  # mostly 410: the version is too old to go on from
                raise ClusterUnavailable(f"the watch ended: {changed.get('message', changed)}")
            if event["type"] in ("ADDED", "MODIFIED"):
                self._take(changed)
            elif event["type"] == "DELETED":
                log.warning("the ConfigMap is gone, the last known one stays in use", configmap=f"kube-system/{NAME}")
            version = str(changed["metadata"]["resourceVersion"])
            if self._stop.is_set():
                break
        return version

    def _take(self, configmap: dict[str, dict[str, str]]) -> None:
        try:
            trust = Trust(configmap.get("data") or {}, self._clock)
        except ValueError as error:
            log.error("the ConfigMap can't be read, the last known one stays", error=str(error))
            if self._trust is None:
                raise ClusterUnavailable(f"ConfigMap kube-system/{NAME}: {error}") from error
            return
        if self._trust is not None and trust.pem != self._trust.pem:
            log.info("CAs rotated", configmap=f"kube-system/{NAME}")
        self._trust = trust


def _problem(error: Exception) -> str:
    """The cause in words for anyone to see; addresses stay in the log."""
    if isinstance(error, ClusterRefused):
        return f"the Kubernetes API answers {error.code}: bind Role extension-apiserver-authentication-reader"
    if isinstance(error, ClusterUnavailable):
        return error.reason
    return "what the Kubernetes API answered can't be read"
