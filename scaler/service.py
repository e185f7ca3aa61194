"""The scaler as one thing: the rules under watch and the API over them, replaced together at a reload."""

from __future__ import annotations

from collections.abc import Iterable

from cloudpulse import logs
from cloudpulse.clock import Clock
from cloudpulse.promql import MetricSource
from cloudpulse.serving import Environ, Health, StartResponse
from scaler.app import Api
from scaler.authentication import StaticAuthentication
from scaler.config import Rule, ScalerSettings
from scaler.discovery import Discovery
from scaler.meters import Meters
from scaler.provider import Provider
from scaler.watch import Watch

log = logs.get(__name__)


class Service:
    """A WSGI app. Nothing is asked of Prometheus before `start`."""

    def __init__(self, settings: ScalerSettings, source: MetricSource, meters: Meters, clock: Clock) -> None:
        self._source = source
        self._meters = meters
        self._clock = clock
        self._settings = settings
        self._watches = [self._watch(rule, settings) for rule in settings.metrics]
        self._provider, self._api = self._over(settings, self._watches)
        meters.show(self._watches)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        return self._api(environ, start_response)

    def start(self) -> None:
        """Evaluate from now on."""
        for watch in self._watches:
            watch.start()

    def apply(self, settings: ScalerSettings) -> None:
        """Take new rules, tokens and interval; raises ConfigError, and then the old go on.

        A rule that did not change keeps its last answer, so that a reload makes no gap.
        """
        same = settings.interval == self._settings.interval
        kept = [watch for watch in self._watches if same and watch.rule in settings.metrics]
        made = [self._watch(rule, settings) for rule in settings.metrics if rule not in [watch.rule for watch in kept]]
        provider, api = self._over(settings, [*kept, *made])
        for watch in made:
            watch.start()
        for watch in self._watches:
            if watch not in kept:
                watch.stop()
        self._settings, self._watches = settings, [*kept, *made]
        self._provider, self._api = provider, api
        self._meters.show(self._watches)

    def health(self) -> Health:
        """Ready while Prometheus answers every rule; metrics that have no value now are facts, each by itself."""
        facts: dict[str, object] = {"metrics": len(self._watches), "without a value": self._provider.problems()}
        if notes := [note for watch in self._watches for note in watch.notes()]:
            facts["notes"] = notes
        return Health(all(watch.asked() for watch in self._watches), facts)

    def close(self) -> None:
        """End the evaluations."""
        for watch in self._watches:
            watch.stop()

    def _watch(self, rule: Rule, settings: ScalerSettings) -> Watch:
        return Watch(rule, self._source, self._clock, float(settings.interval))

    def _over(self, settings: ScalerSettings, watches: list[Watch]) -> tuple[Provider, Api]:
        authentication = StaticAuthentication(settings.auth)
        if settings.auth.anonymous:
            log.warning("anyone who reaches the port may read the metrics: scaler.auth.anonymous is true")
        provider = Provider(watches)
        return provider, Api(provider, Discovery(settings.metrics), authentication, self._meters, self._clock)
