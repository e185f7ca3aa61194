"""The scaler's one tie to a cluster: the API, whom to trust, access and objects over them. It outlives reloads."""

from __future__ import annotations

import time
from pathlib import Path

from cloudpulse.clock import Clock
from scaler.cluster.access import DelegatedAccess
from scaler.cluster.api import ClusterApi
from scaler.cluster.objects import ClusterObjects
from scaler.cluster.remembered import Turns
from scaler.cluster.watching import TrustWatch

KNOWN_AT_ONCE = 12
UNKNOWN_AT_ONCE = 4
"""Together half of the server's threads, so that a hung Kubernetes API leaves the other half to answer discovery. Who
sends made-up tokens is not known yet, and has turns of its own: they must not stop the HPA from being authorised."""


class Cluster:
    """Nothing is asked before `start`; the constructor raises ConfigError.

    `clock` is the time of day, `ticks` one that doesn't jump, by which answers are forgotten.
    """

    def __init__(self, kubeconfig: Path | None, clock: Clock, ticks: Clock = time.monotonic) -> None:
        self._api = ClusterApi(kubeconfig)
        self.known = Turns(KNOWN_AT_ONCE)
        self.trust = TrustWatch(self._api, clock)
        self.access = DelegatedAccess(self._api, lambda: self.trust.trust, ticks, Turns(UNKNOWN_AT_ONCE), self.known)
        self.objects = ClusterObjects(self._api, ticks, self.known)

    def start(self) -> None:
        """Learn whom to trust, from now on."""
        self.trust.start()

    def unready(self) -> str:
        """Why no front proxy can be believed, "" for good once the cluster has said which are."""
        return "" if self.trust.trust else f"which front proxies to trust is not known: {self.trust.problem}"

    def close(self) -> None:
        """End the watch."""
        self.trust.stop()
        self._api.close()
