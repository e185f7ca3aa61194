"""The scaler as one thing: the rules under watch and the API over them, replaced together at a reload."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cloudpulse import logs
from cloudpulse.clock import Clock
from cloudpulse.promql import MetricSource
from cloudpulse.serving import Environ, Health, StartResponse
from scaler.access import Access
from scaler.app import Api
from scaler.authentication import StaticAccess
from scaler.certificate import Expiry
from scaler.config import Rule, ScalerSettings
from scaler.discovery import Discovery
from scaler.horizon import ReadyTimes
from scaler.meters import Meters
from scaler.provider import Provider
from scaler.watch import Watch

if TYPE_CHECKING:  # outside of a cluster the package `kubernetes` stays unloaded, 40 MB of it
    from scaler.cluster.connection import Cluster

log = logs.get(__name__)


class Service:
    """A WSGI app. Nothing is asked of Prometheus or Kubernetes before `start`.

    `cluster` goes with auth mode delegated; `expiry` is that of the server certificate; `client_auth_type` is what
    `--web.config.file` asks of clients.
    """

    def __init__(
        self,
        settings: ScalerSettings,
        source: MetricSource,
        meters: Meters,
        clock: Clock,
        cluster: Cluster | None = None,
        expiry: Expiry | None = None,
        client_auth_type: str = "NoClientCert",
    ) -> None:
        self._client_auth_type = client_auth_type
        self._source = source
        self._ready_times = ReadyTimes(source)
        self._cluster = cluster
        self._expiry = expiry
        self._meters = meters
        self._clock = clock
        self._settings = settings
        self._watches = [self._watch(rule, settings) for rule in settings.metrics]
        self._provider, self._api = self._over(settings, self._watches)
        meters.show(self._watches)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        return self._api(environ, start_response)

    def start(self) -> None:
        """Evaluate from now on, and learn whom to trust."""
        if self._cluster is not None:
            self._cluster.start()
        for watch in self._watches:
            watch.start()

    def apply(self, settings: ScalerSettings) -> None:
        """Take new rules, tokens and interval; raises ConfigError, and then the old go on.

        A rule that did not change keeps its last answer and its gates, so that a reload makes no gap.
        """
        kept = [watch for watch in self._watches if watch.rule in settings.metrics]
        made = [self._watch(rule, settings) for rule in settings.metrics if rule not in [watch.rule for watch in kept]]
        provider, api = self._over(settings, [*kept, *made])
        for watch in made:
            watch.start()
        if settings.interval != self._settings.interval:
            for watch in kept:
                watch.pace(float(settings.interval))
        for watch in self._watches:
            if watch not in kept:
                watch.stop()
        self._settings, self._watches = settings, [*kept, *made]
        self._provider, self._api = provider, api
        self._meters.show(self._watches)

    @property
    def provider(self) -> Provider:
        """The rules of this moment; a reload replaces it."""
        return self._provider

    def health(self) -> Health:
        """Ready while Prometheus answers every rule, the cluster is known, and the certificate can be trusted.

        Metrics that have no value now are facts, each by itself.
        """
        facts: dict[str, object] = {"metrics": len(self._watches), "without a value": self._provider.problems()}
        if notes := [note for watch in self._watches for note in watch.notes()]:
            facts["notes"] = notes
        problems = [problem for problem in (self._certificate(), self._trust()) if problem]
        if problems:
            facts["problems"] = problems
        return Health(not problems and all(watch.asked() for watch in self._watches), facts)

    def unready(self) -> str:
        """Why not even discovery can be answered, "" while it can: neither Prometheus nor a restart of the Kubernetes
        API changes it."""
        return self._certificate() or (self._cluster.unready() if self._cluster is not None else "")

    def close(self) -> None:
        """End the evaluations and the watch of the cluster."""
        for watch in self._watches:
            watch.stop()
        if self._cluster is not None:
            self._cluster.close()

    def _certificate(self) -> str:
        return self._expiry.problem() if self._expiry is not None else ""

    def _trust(self) -> str:
        return self._cluster.trust.problem if self._cluster is not None else ""

    def _watch(self, rule: Rule, settings: ScalerSettings) -> Watch:
        return Watch(rule, self._source, self._clock, float(settings.interval), self._ready_times)

    def _over(self, settings: ScalerSettings, watches: list[Watch]) -> tuple[Provider, Api]:
        cluster = self._cluster
        certificates = self._client_auth_type != "NoClientCert"
        access: Access = StaticAccess(settings.auth, certificates) if cluster is None else cluster.access
        if settings.auth.anonymous and self._client_auth_type != "RequireAndVerifyClientCert":
            log.warning("anyone who reaches the port may read the metrics: scaler.auth.anonymous is true")
        provider = Provider(watches, None if cluster is None else cluster.objects)
        api = Api(provider, Discovery(settings.metrics), access, self._meters, self._clock, self.unready)
        return provider, api
