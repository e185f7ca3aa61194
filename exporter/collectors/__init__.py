"""The one table of collectors: the name in the config and in the `collector` label, and what makes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

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
from exporter.system import System, this_system

TABLE: Mapping[str, Callable[[ExporterSettings, System], Collector]] = {
    "cpu": lambda _, system: CpuCollector(system),
    "memory": lambda _, system: MemoryCollector(system),
    "swap": lambda _, system: SwapCollector(system),
    "load": lambda _, system: LoadCollector(system),
    "network": lambda settings, system: NetworkCollector(settings.network, system),
    "disk": lambda settings, system: DiskCollector(settings.disk, system),
    "filesystem": lambda settings, system: FilesystemCollector(settings.filesystem, system),
    "processes": lambda _, system: ProcessesCollector(system),
    "info": lambda _, system: InfoCollector(system.paths),
    "clock": lambda _, system: ClockCollector(system),
}


def enabled(settings: ExporterSettings) -> dict[str, Collector]:
    """Those that the settings leave on, by name."""
    system = this_system(settings.paths)
    return {name: make(settings, system) for name, make in TABLE.items() if getattr(settings.collectors, name)}
