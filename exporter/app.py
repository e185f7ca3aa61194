"""The exporter's HTTP face, and the exporter behind it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cloudpulse import audit
from cloudpulse.build import BuildInfo
from cloudpulse.itself import Itself
from cloudpulse.reloading import Reload
from cloudpulse.serving import Environ, Face, Health
from exporter.collector import Host
from exporter.collectors import enabled
from exporter.config import ExporterSettings
from exporter.families import Family
from exporter.selection import selected

OFFSET_SECONDS = 0.5
"""What of Prometheus' scrape timeout is left for the way back and forth; blackbox_exporter's --timeout-offset."""


@dataclass(frozen=True)
class Scrape:
    """Some of a host's collectors, read before a deadline. Requests that ask for the same get equal ones."""

    host: Host
    loads: int
    """How often the settings had been read again."""
    only: frozenset[str]
    timeout_seconds: float

    def collect(self) -> Iterable[Family]:
        """Read them now."""
        return self.host.collect(self.timeout_seconds, self.only)


class Exporter:
    """The host under the current settings; `load` reads them and raises ConfigError."""

    def __init__(self, load: Callable[[], ExporterSettings]) -> None:
        self._load = load
        self._loads = 0
        settings = load()
        self._timeout = settings.timeout
        self._host = Host(enabled(settings))

    def apply(self) -> None:
        """Read the settings again and use them from the next scrape on; raises ConfigError and changes nothing."""
        self._loads += 1  # before all else: what is said of a load that fails is new, too
        settings = self._load()
        self._host.use(enabled(settings))
        self._timeout = settings.timeout

    def scrape(self, environ: Environ) -> Scrape:
        """What the request asks for; raises BadRequest."""
        only = selected(environ.get("QUERY_STRING", ""), self._host.names)
        return Scrape(self._host, self._loads, only, timeout_seconds(environ, self._timeout))

    def health(self) -> Health:
        """Ready when a collector succeeded when it was last scraped, or is now if one was not scraped yet."""
        if not self._host.outcomes.keys() >= set(self._host.names):
            list(self._host.collect(self._timeout))
        outcomes = self._host.outcomes
        failing = [name for name, succeeded in outcomes.items() if not succeeded]
        return Health(len(failing) < len(outcomes), {"collectors": len(outcomes), "failing": failing})


def timeout_seconds(environ: Environ, most: float) -> float:
    """How long this scrape may take: `most`, or less where Prometheus says how long it waits.

    https://github.com/prometheus/blackbox_exporter/blob/master/prober/handler.go: getTimeout
    """
    try:
        waits = float(environ.get("HTTP_X_PROMETHEUS_SCRAPE_TIMEOUT_SECONDS", ""))
    except ValueError:
        return most
    if not math.isfinite(waits) or waits <= 0:
        return most
    return min(most, waits - min(OFFSET_SECONDS, waits / 2))


def create_face(exporter: Exporter, reload: Reload, *, lifecycle: bool) -> Face:
    """The WSGI app; with `lifecycle`, POST /-/reload reloads."""
    metrics = (BuildInfo(), reload, Itself(), audit.Failures())
    return Face(
        "CloudPulse exporter",
        metrics,
        exporter.health,
        scrape=exporter.scrape,
        reload=reload if lifecycle else None,
    )
