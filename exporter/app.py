"""The exporter's HTTP face, and the exporter behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cloudpulse.build import BuildInfo
from cloudpulse.itself import Itself
from cloudpulse.reloading import Reload
from cloudpulse.serving import Face, Health
from exporter.collector import Host
from exporter.collectors import enabled
from exporter.config import ExporterSettings
from exporter.families import Family


class Exporter:
    """The host under the current settings; `load` reads them and raises ConfigError."""

    def __init__(self, load: Callable[[], ExporterSettings]) -> None:
        self._load = load
        self._host = Host(enabled(load()))

    def apply(self) -> None:
        """Read the settings again and use them from the next scrape on; raises ConfigError and changes nothing."""
        self._host = Host(enabled(self._load()))

    def collect(self) -> Iterable[Family]:
        """One scrape of the host."""
        return self._host.collect()

    def health(self) -> Health:
        """Ready when the last scrape, or a probe now if there was none, had a collector that succeeded."""
        host = self._host
        if not host.outcomes:
            list(host.collect())
        failing = [name for name, succeeded in host.outcomes.items() if not succeeded]
        count = len(host.outcomes)
        return Health(len(failing) < count, {"collectors": count, "failing": failing})


def create_face(exporter: Exporter, reload: Reload, *, lifecycle: bool) -> Face:
    """The WSGI app; with `lifecycle`, POST /-/reload reloads."""
    metrics = (exporter, BuildInfo(), reload, Itself())
    return Face("CloudPulse exporter", metrics, exporter.health, reload=reload if lifecycle else None)
