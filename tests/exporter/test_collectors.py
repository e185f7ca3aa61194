from __future__ import annotations

import os
import warnings
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from cloudpulse import names
from cloudpulse.exposition import encode
from cloudpulse.names import Definition
from exporter.collector import Collector, Host
from exporter.collectors import TABLE, enabled
from exporter.collectors.cpu import CpuCollector
from exporter.collectors.disk import DiskCollector
from exporter.collectors.filesystem import FilesystemCollector
from exporter.collectors.load import LoadCollector
from exporter.collectors.memory import MemoryCollector
from exporter.collectors.network import NetworkCollector
from exporter.collectors.swap import SwapCollector
from exporter.config import (
    CollectorSwitches,
    DiskSettings,
    ExporterSettings,
    FilesystemSettings,
    NetworkSettings,
)


def _values(collector: Collector, definition: Definition) -> dict[tuple[str, ...], float]:
    return {
        tuple(sample.labels.values()): sample.value
        for family in collector.collect()
        for sample in family.samples
        if sample.name == definition.name
    }


def test_every_collector_works_on_this_very_host() -> None:
    host = Host(enabled(ExporterSettings()))
    values = {sample.name: sample.value for family in host.collect(10.0) for sample in family.samples}
    assert [name for name, succeeded in host.outcomes.items() if not succeeded] == []
    assert values[names.MEMORY_TOTAL.name] == psutil.virtual_memory().total
    assert values[names.BOOT_TIME.name] == psutil.boot_time()


def test_the_table_and_the_switches_name_the_same_collectors() -> None:
    assert set(TABLE) == set(CollectorSwitches.__struct_fields__)


def test_a_collector_that_is_off_is_not_made() -> None:
    settings = ExporterSettings(collectors=CollectorSwitches(swap=False, processes=False))
    assert set(TABLE) - set(enabled(settings)) == {"swap", "processes"}


class _Times:
    def __init__(self, **modes: float) -> None:
        self._modes = modes

    def _asdict(self) -> dict[str, float]:
        return self._modes


def test_cpu_seconds_that_fall_a_little_stay_where_they_were(frozen_host: pytest.MonkeyPatch) -> None:
    """Linux lets iowait fall; Prometheus would take that for a restart and add the whole value to the rate."""
    collector = CpuCollector()
    shown = []
    for iowait, idle in ((5.0, 100.0), (4.99, 100.5), (5.5, 101.0)):
        frozen_host.setattr(psutil, "cpu_times", lambda percpu, a=iowait, b=idle: [_Times(idle=b, iowait=a)])
        shown.append(_values(collector, names.CPU_SECONDS))
    assert [values["0", "iowait"] for values in shown] == [5.0, 5.0, 5.5]
    assert [values["0", "idle"] for values in shown] == [100.0, 100.5, 101.0]


def test_a_cpu_that_was_replaced_starts_anew(frozen_host: pytest.MonkeyPatch) -> None:
    collector = CpuCollector()
    for idle, user in ((100.0, 50.0), (1.0, 0.5)):
        frozen_host.setattr(psutil, "cpu_times", lambda percpu, a=idle, b=user: [_Times(idle=a, user=b)])
        values = _values(collector, names.CPU_SECONDS)
    assert values == {("0", "idle"): 1.0, ("0", "user"): 0.5}


def test_the_modes_of_a_cpu_add_up_to_its_time(frozen_host: pytest.MonkeyPatch) -> None:
    """A guest's time is in `user` already."""
    modes = {labels[1] for labels in _values(CpuCollector(), names.CPU_SECONDS)}
    assert modes == {"user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"}


@pytest.mark.parametrize("error", [NotImplementedError("no file"), FileNotFoundError("no file")])
def test_a_host_that_shows_no_frequency_shows_its_cpus(frozen_host: pytest.MonkeyPatch, error: Exception) -> None:
    def cpu_freq(percpu: bool) -> Any:
        raise error

    frozen_host.setattr(psutil, "cpu_freq", cpu_freq)
    collector = CpuCollector()
    assert _values(collector, names.CPU_FREQUENCY) == {}
    assert len(_values(collector, names.CPU_SECONDS)) == 16


def test_memory_that_the_platform_does_not_know_is_absent(frozen_host: pytest.MonkeyPatch) -> None:
    frozen_host.setattr(psutil, "virtual_memory", lambda: _Times(total=8.0, available=6.0, used=2.0, free=1.0))
    assert _values(MemoryCollector(), names.MEMORY_TOTAL) == {(): 8.0}
    assert _values(MemoryCollector(), names.MEMORY_CACHED) == {}


def test_swap_traffic_that_the_kernel_does_not_count_is_absent(frozen_host: pytest.MonkeyPatch) -> None:
    def swap_memory() -> SimpleNamespace:
        warnings.warn("'sin' and 'sout' couldn't be determined", RuntimeWarning, stacklevel=1)
        return SimpleNamespace(total=1.0, used=0.0, free=1.0, sin=0, sout=0)

    frozen_host.setattr(psutil, "swap_memory", swap_memory)
    collector = SwapCollector()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert _values(collector, names.SWAP_IN) == {}
        assert _values(collector, names.SWAP_TOTAL) == {(): 1.0}


def test_windows_has_neither_a_load_average_nor_swap_traffic(frozen_host: pytest.MonkeyPatch) -> None:
    frozen_host.setattr(psutil, "WINDOWS", True)
    assert list(LoadCollector().collect()) == []
    assert _values(SwapCollector(), names.SWAP_OUT) == {}


def test_a_machine_without_disks_is_no_failure(frozen_host: pytest.MonkeyPatch) -> None:
    frozen_host.setattr(psutil, "disk_io_counters", lambda perdisk, nowrap: None)
    assert _values(DiskCollector(DiskSettings()), names.DISK_READS) == {}


def test_a_platform_without_busy_time_shows_the_rest_of_the_disk(frozen_host: pytest.MonkeyPatch) -> None:
    counters = _Times(read_bytes=1, write_bytes=2, read_count=3, write_count=4)
    frozen_host.setattr(psutil, "disk_io_counters", lambda perdisk, nowrap: {"disk0": counters})
    collector = DiskCollector(DiskSettings())
    assert _values(collector, names.DISK_WRITES) == {("disk0",): 4.0}
    assert _values(collector, names.DISK_IO_TIME) == {}


def test_excluded_network_devices_are_left_out(frozen_host: pytest.MonkeyPatch) -> None:
    collector = NetworkCollector(NetworkSettings(devices_exclude="^lo$"))
    assert _values(collector, names.NETWORK_RECEIVE_BYTES) == {("eth0",): 2000.0}
    assert _values(collector, names.NETWORK_UP) == {("eth0",): 0.0}


def test_a_device_that_goes_between_two_readings_has_no_state(frozen_host: pytest.MonkeyPatch) -> None:
    frozen_host.setattr(psutil, "net_if_stats", lambda: {"lo": SimpleNamespace(isup=True)})
    assert _values(NetworkCollector(NetworkSettings()), names.NETWORK_UP) == {("lo",): 1.0}


def test_a_filesystem_that_fails_is_absent_and_not_zero(frozen_host: pytest.MonkeyPatch) -> None:
    sizes = _values(FilesystemCollector(FilesystemSettings()), names.FILESYSTEM_SIZE)
    places = {labels[1] for labels in sizes}
    assert "/mnt/broken" not in places
    assert {"/", "/data"} <= places
    assert 0.0 not in sizes.values()


def test_pseudo_filesystems_are_left_out(frozen_host: pytest.MonkeyPatch) -> None:
    kinds = {labels[2] for labels in _values(FilesystemCollector(FilesystemSettings()), names.FILESYSTEM_SIZE)}
    assert kinds == {"ext4", "btrfs", "xfs", "nfs4"}


def test_of_two_mounts_on_one_point_the_upper_is_shown(frozen_host: pytest.MonkeyPatch) -> None:
    mounts = [SimpleNamespace(device=f"/dev/{name}", mountpoint="/", fstype="ext4") for name in ("lower", "upper")]
    frozen_host.setattr(psutil, "disk_partitions", lambda **_: mounts)
    sizes = _values(FilesystemCollector(FilesystemSettings()), names.FILESYSTEM_SIZE)
    assert list(sizes) == [("/dev/upper", "/", "ext4")]


def test_a_mount_point_in_another_encoding_does_not_cost_the_page(frozen_host: pytest.MonkeyPatch) -> None:
    place = os.fsdecode(b"/mnt/\xe9t\xe9")
    frozen_host.setattr(
        psutil, "disk_partitions", lambda **_: [SimpleNamespace(device="/dev/a", mountpoint=place, fstype="ext4")]
    )
    frozen_host.setattr(psutil, "disk_usage", lambda place: SimpleNamespace(total=4.0, used=1.0, free=3.0))
    frozen_host.setattr(
        "exporter.mounts.os", SimpleNamespace(statvfs=lambda place: SimpleNamespace(f_files=0, f_ffree=0))
    )
    page = encode(FilesystemCollector(FilesystemSettings()).collect()).decode()
    assert 'mountpoint="/mnt/?t?",fstype="ext4"} 4.0' in page
