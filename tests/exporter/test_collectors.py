"""The collectors, on the imagined host and on this one."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cloudpulse import names
from cloudpulse.exposition import encode
from cloudpulse.names import Definition
from exporter.collector import Collector, Host
from exporter.collectors import TABLE, enabled
from exporter.collectors.cpu import CpuCollector
from exporter.collectors.disk import DiskCollector
from exporter.collectors.filesystem import FilesystemCollector
from exporter.collectors.info import InfoCollector
from exporter.collectors.load import LoadCollector
from exporter.collectors.memory import MemoryCollector
from exporter.collectors.network import NetworkCollector
from exporter.collectors.processes import ProcessesCollector
from exporter.collectors.swap import SwapCollector
from exporter.config import (
    DEFAULTS,
    CollectorSwitches,
    DiskSettings,
    ExporterSettings,
    FilesystemSettings,
    NetworkSettings,
)
from exporter.paths import Paths
from exporter.system import Mount, System, Values, this_system
from tests.exporter.conftest import FrozenHost


def _values(collector: Collector, definition: Definition) -> dict[tuple[str, ...], float]:
    return {
        tuple(sample.labels.values()): sample.value
        for family in collector.collect()
        for sample in family.samples
        if sample.name == definition.name
    }


@pytest.fixture
def system() -> System:
    """This host; a test replaces what it is about."""
    return this_system(Paths())


def _in_turn(*answers: Any) -> Callable[[], Any]:
    remaining = iter(answers)
    return lambda: next(remaining)


def test_every_collector_works_on_this_very_host() -> None:
    host = Host(enabled(ExporterSettings()))
    shown = {sample.name for family in host.collect(10.0) for sample in family.samples}
    assert [name for name, succeeded in host.outcomes.items() if not succeeded] == []
    assert {names.CPU_SECONDS.name, names.MEMORY_TOTAL.name, names.BOOT_TIME.name, names.PROCESSES.name} <= shown


def test_the_table_and_the_switches_name_the_same_collectors() -> None:
    assert list(TABLE) == list(DEFAULTS)
    assert {*TABLE, "disable_defaults"} == set(CollectorSwitches.__struct_fields__)


def test_a_collector_that_is_off_is_not_made() -> None:
    settings = ExporterSettings(collectors=CollectorSwitches(swap=False, processes=False))
    assert set(TABLE) - set(enabled(settings)) == {"swap", "processes", "top"}


def test_cpu_seconds_that_fall_a_little_stay_where_they_were(system: System) -> None:
    """Linux lets iowait fall; Prometheus would take that for a restart and add the whole value to the rate."""
    readings = [{"0": {"idle": idle, "iowait": iowait}} for iowait, idle in ((5.0, 100.0), (4.99, 100.5), (5.5, 101.0))]
    collector = CpuCollector(replace(system, cpu_seconds=_in_turn(*readings)))
    shown = [_values(collector, names.CPU_SECONDS) for _ in readings]
    assert [values["0", "iowait"] for values in shown] == [5.0, 5.0, 5.5]
    assert [values["0", "idle"] for values in shown] == [100.0, 100.5, 101.0]


def test_a_cpu_that_was_replaced_starts_anew(system: System) -> None:
    readings = [{"0": {"idle": idle, "user": user}} for idle, user in ((100.0, 50.0), (1.0, 0.5))]
    collector = CpuCollector(replace(system, cpu_seconds=_in_turn(*readings)))
    shown = [_values(collector, names.CPU_SECONDS) for _ in readings]
    assert shown[1] == {("0", "idle"): 1.0, ("0", "user"): 0.5}


def test_a_cpu_that_is_switched_off_is_no_longer_shown(system: System) -> None:
    readings: list[dict[str, Values]] = [{"0": {"idle": 1.0}, "1": {"idle": 2.0}}, {"0": {"idle": 1.5}}]
    collector = CpuCollector(replace(system, cpu_seconds=_in_turn(*readings)))
    shown = [_values(collector, names.CPU_SECONDS) for _ in readings]
    assert shown[1] == {("0", "idle"): 1.5}


def test_memory_that_the_platform_does_not_know_is_absent(system: System) -> None:
    collector = MemoryCollector(replace(system, memory=lambda: {"total": 8.0, "available": 6.0}))
    assert _values(collector, names.MEMORY_TOTAL) == {(): 8.0}
    assert _values(collector, names.MEMORY_CACHED) == {}


def test_swap_traffic_that_the_platform_does_not_count_is_absent(system: System) -> None:
    collector = SwapCollector(replace(system, swap=lambda: {"total": 1.0, "used": 0.0, "free": 1.0}))
    assert _values(collector, names.SWAP_IN) == {}
    assert _values(collector, names.SWAP_TOTAL) == {(): 1.0}


def test_a_platform_without_load_averages_shows_none(system: System) -> None:
    assert list(LoadCollector(replace(system, load=lambda: ())).collect()) == []


def test_a_machine_without_disks_is_no_failure(system: System) -> None:
    assert _values(DiskCollector(DiskSettings(), replace(system, disks=dict)), names.DISK_READS) == {}


def test_a_platform_without_busy_time_shows_the_rest_of_the_disk(system: System) -> None:
    collector = DiskCollector(DiskSettings(), replace(system, disks=lambda: {"disk0": {"reads": 3, "writes": 4}}))
    assert _values(collector, names.DISK_WRITES) == {("disk0",): 4.0}
    assert _values(collector, names.DISK_IO_TIME) == {}


def test_excluded_network_devices_are_left_out(frozen_host: FrozenHost) -> None:
    collector = NetworkCollector(NetworkSettings(devices_exclude="^lo$"), frozen_host.system)
    assert _values(collector, names.NETWORK_RECEIVE_BYTES) == {("eth0",): 2000.0}
    assert _values(collector, names.NETWORK_UP) == {("eth0",): 0.0}


def test_a_device_that_goes_between_two_readings_has_no_state(system: System) -> None:
    counters = dict.fromkeys(("receive_bytes", "transmit_bytes"), 1.0)
    going = replace(system, networks=lambda: {"lo": counters, "tun0": counters}, networks_up=lambda _: {"lo": True})
    assert _values(NetworkCollector(NetworkSettings(), going), names.NETWORK_UP) == {("lo",): 1.0}


def test_a_filesystem_that_fails_is_absent_and_not_zero(frozen_host: FrozenHost) -> None:
    sizes = _values(FilesystemCollector(FilesystemSettings(), frozen_host.system), names.FILESYSTEM_SIZE)
    places = {labels[1] for labels in sizes}
    assert "/mnt/broken" not in places
    assert {"/", "/data"} <= places
    assert 0.0 not in sizes.values()


def test_pseudo_filesystems_are_left_out(frozen_host: FrozenHost) -> None:
    collector = FilesystemCollector(FilesystemSettings(), frozen_host.system)
    kinds = {labels[2] for labels in _values(collector, names.FILESYSTEM_SIZE)}
    assert kinds == {"ext4", "btrfs", "xfs", "nfs4"}


def test_of_two_mounts_on_one_point_the_upper_is_shown(frozen_host: FrozenHost) -> None:
    mounts = [Mount(f"/dev/{name}", "/", "ext4", frozen_host.paths.rootfs) for name in ("lower", "upper")]
    collector = FilesystemCollector(FilesystemSettings(), replace(frozen_host.system, mounts=lambda: mounts))
    assert list(_values(collector, names.FILESYSTEM_SIZE)) == [("/dev/upper", "/", "ext4")]


def test_a_filesystem_mounted_between_two_scrapes_is_shown(frozen_host: FrozenHost) -> None:
    collector = FilesystemCollector(FilesystemSettings(), frozen_host.system)
    places = []
    for line in ("", "/dev/vde /later ext4 rw 0 0\n"):
        frozen_host.write("proc/1/mounts", "/dev/vda1 / ext4 rw 0 0\n" + line)
        frozen_host.spaces["/later"] = (5, 3, 2, 0, 0)
        places.append([labels[1] for labels in _values(collector, names.FILESYSTEM_SIZE)])
    assert places == [["/"], ["/", "/later"]]


def test_a_mount_point_in_another_encoding_does_not_cost_the_page(frozen_host: FrozenHost) -> None:
    place = os.fsdecode(b"/mnt/\xe9t\xe9")
    frozen_host.spaces[place] = (4, 3, 3, 0, 0)
    mount = Mount("/dev/a", place, "ext4", frozen_host.paths.reached(place))
    system = replace(frozen_host.system, mounts=lambda: [mount])
    page = encode(FilesystemCollector(FilesystemSettings(), system).collect()).decode()
    assert 'mountpoint="/mnt/?t?",fstype="ext4"} 4000.0' in page


def test_states_are_counted_and_the_usual_ones_are_shown_at_zero(system: System) -> None:
    found = {"running": 1, "parked": 2}
    values = _values(ProcessesCollector(replace(system, process_states=lambda: found)), names.PROCESSES)
    assert {state: count for (state,), count in values.items() if count} == {"running": 1, "parked": 2}
    assert values["zombie",] == values["disk-sleep",] == 0


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("ID=debian\n", ("debian", "")),
        ('# x\nID="a b"\nVERSION_ID=\'1"2\'\n\nODD', ("a b", '1"2')),
        ('ID="never ended\n', ("never ended", "")),
    ],
)
def test_the_distribution_is_read_from_the_hosts_own_files(
    frozen_host: FrozenHost, release: str, expected: tuple[str, str]
) -> None:
    frozen_host.write("rootfs/etc/os-release", release)
    (labels,) = _values(InfoCollector(frozen_host.paths), names.NODE_INFO)
    assert labels[-2:] == expected
