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
from exporter.collectors.pressure import PressureCollector
from exporter.collectors.processes import ProcessesCollector
from exporter.collectors.sensors import SensorsCollector
from exporter.collectors.swap import SwapCollector
from exporter.collectors.textfile import TextfileCollector
from exporter.collectors.top import TopCollector
from exporter.config import ExporterSettings
from exporter.system import System, this_system

TABLE: Mapping[str, Callable[[ExporterSettings, System], Collector]] = {
    "cpu": lambda _, system: CpuCollector(system),
    "memory": lambda _, system: MemoryCollector(system),
    "swap": lambda _, system: SwapCollector(system),
    "load": lambda _, system: LoadCollector(system),
    "pressure": lambda _, system: PressureCollector(system),
    "network": lambda settings, system: NetworkCollector(settings.network, system),
    "disk": lambda settings, system: DiskCollector(settings.disk, system),
    "filesystem": lambda settings, system: FilesystemCollector(settings.filesystem, system),
    "sensors": lambda _, system: SensorsCollector(system.sensors),
    "processes": lambda _, system: ProcessesCollector(system),
    "top": lambda settings, system: TopCollector(settings.top, system.processes, system.command_line),
    "info": lambda _, system: InfoCollector(system.paths),
    "clock": lambda _, system: ClockCollector(system),
    "textfile": lambda settings, _: TextfileCollector(settings.textfile),
}


def enabled(settings: ExporterSettings) -> dict[str, Collector]:
    """Those that the settings leave on, by name; raises ConfigError when that is none, or `paths` are wrong."""
    if not settings.collectors.on:
        raise ConfigError(f"exporter.collectors: every collector is off: leave on at least one of {', '.join(TABLE)}")
    settings.paths.check()
    system = this_system(settings.paths)
    return {name: TABLE[name](settings, system) for name in settings.collectors.on}
