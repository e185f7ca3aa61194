"""The system as psutil reads it, on this host and with the answers that it gives on other platforms."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from exporter.collector import Collector
from exporter.collectors.clock import ClockCollector
from exporter.collectors.cpu import CpuCollector
from exporter.collectors.disk import DiskCollector
from exporter.collectors.filesystem import FilesystemCollector
from exporter.collectors.load import LoadCollector
from exporter.collectors.memory import MemoryCollector
from exporter.collectors.network import NetworkCollector
from exporter.collectors.processes import ProcessesCollector
from exporter.collectors.swap import SwapCollector
from exporter.config import DiskSettings, FilesystemSettings, NetworkSettings
from exporter.elsewhere import elsewhere
from exporter.paths import Paths
from exporter.processes import UNKNOWN
from exporter.system import System


@pytest.fixture
def system() -> System:
    return elsewhere(Paths())


def test_every_collector_shows_what_psutil_reads_of_this_host(system: System) -> None:
    collectors: list[Collector] = [
        *(make(system) for make in (ClockCollector, CpuCollector, LoadCollector, MemoryCollector)),
        *(make(system) for make in (ProcessesCollector, SwapCollector)),
        DiskCollector(DiskSettings(), system),
        FilesystemCollector(FilesystemSettings(), system),
        NetworkCollector(NetworkSettings(), system),
    ]
    empty = [family.name for collector in collectors for family in collector.collect() if not family.samples]
    assert [name for name in empty if "disk" not in name and "frequency" not in name] == []  # not every host has these


@pytest.mark.parametrize("error", [NotImplementedError("no file"), FileNotFoundError("no file")])
def test_a_host_that_shows_no_frequency_has_none(
    system: System, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def cpu_freq(percpu: bool) -> Any:
        raise error

    monkeypatch.setattr(psutil, "cpu_freq", cpu_freq)
    assert system.cpu_frequencies() == {}


def test_a_cpu_that_is_off_has_no_frequency(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [SimpleNamespace(current=2600.0), SimpleNamespace(current=0.0)]
    monkeypatch.setattr(psutil, "cpu_freq", lambda percpu: found)
    assert system.cpu_frequencies() == {"0": 2.6e9}


def test_windows_has_neither_a_load_average_nor_swap_traffic(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "WINDOWS", True)
    assert system.load() == ()
    assert system.swap().keys() == {"total", "used", "free"}


def test_a_machine_without_disks_has_none(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "disk_io_counters", lambda perdisk, nowrap: None)
    assert system.disks() == {}


def test_a_platform_without_busy_time_leaves_it_out(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    counters = SimpleNamespace(
        _asdict=lambda: {"read_bytes": 1, "write_bytes": 2, "read_count": 3, "write_count": 4, "read_time": 5}
    )
    monkeypatch.setattr(psutil, "disk_io_counters", lambda perdisk, nowrap: {"disk0": counters})
    assert system.disks() == {"disk0": {"read_bytes": 1, "written_bytes": 2, "reads": 3, "writes": 4}}


def test_processes_that_end_are_left_out_and_hidden_ones_are_counted(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gone(psutil.Process):
        def name(self) -> Any:
            raise psutil.NoSuchProcess(self.pid)

    class Hidden(psutil.Process):
        def name(self) -> Any:
            raise psutil.AccessDenied(self.pid)

        def status(self) -> Any:
            raise psutil.AccessDenied(self.pid)

    monkeypatch.setattr(psutil, "process_iter", lambda: [kind() for kind in (psutil.Process, Gone, Hidden)])
    known, hidden = system.processes()
    assert known.cpu_seconds is not None
    assert known.cpu_seconds > 0
    assert (hidden.state, hidden.cpu_seconds, hidden.rss_bytes) == (UNKNOWN, None, None)
