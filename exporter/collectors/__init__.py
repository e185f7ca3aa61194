"""The one table of collectors: the name in the config and in the `collector` label, and what makes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cloudpulse.errors import ConfigError
from exporter.collector import Collector
from exporter.collectors.clock import ClockCollector
from exporter.collectors.cpu import CpuCollector
from exporter.collectors.disk import DiskCollector
from exporter.collectors.filesystem import FilesystemCollector
from exporter.collectors.info import InfoCollector
from exporter.collectors.load import LoadCollector
from exporter.collectors.memory import MemoryCollector
from exporter.collectors.network import NetworkCollector
from exporter.collectors.processes import ProcessesCollector
from exporter.collectors.swap import SwapCollector
from exporter.config import ExporterSettings

TABLE: Mapping[str, Callable[[ExporterSettings], Collector]] = {
    "cpu": lambda _: CpuCollector(),
    "memory": lambda _: MemoryCollector(),
    "swap": lambda _: SwapCollector(),
    "load": lambda _: LoadCollector(),
    "network": lambda settings: NetworkCollector(settings.network),
    "disk": lambda settings: DiskCollector(settings.disk),
    "filesystem": lambda settings: FilesystemCollector(settings.filesystem),
    "processes": lambda _: ProcessesCollector(),
    "info": lambda _: InfoCollector(),
    "clock": lambda _: ClockCollector(),
}


def enabled(settings: ExporterSettings) -> dict[str, Collector]:
    """Those that the settings leave on, by name; raises ConfigError when that is none."""
    if not settings.collectors.on:
        raise ConfigError(f"exporter.collectors: every collector is off: leave on at least one of {', '.join(TABLE)}")
    return {name: TABLE[name](settings) for name in settings.collectors.on if name in TABLE}
