"""A host that never changes: psutil's answers on an imagined machine."""

from __future__ import annotations

from collections import namedtuple
from types import SimpleNamespace

import psutil
import pytest

CpuTimes = namedtuple("CpuTimes", "user nice system idle iowait irq softirq steal guest guest_nice")
Memory = namedtuple("Memory", "total available percent used free active inactive buffers cached shared slab")
Disk = namedtuple("Disk", "read_count write_count read_bytes write_bytes read_time write_time busy_time")
Network = namedtuple("Network", "bytes_sent bytes_recv packets_sent packets_recv errin errout dropin dropout")

MOUNTS = {
    # mount point: device, type, (size, used, available) or None for one that fails, inodes, free inodes
    "/": ("/dev/vda1", "ext4", (100e9, 40e9, 55e9), 6_553_600, 6_000_000),
    "/data": ("/dev/vdb", "btrfs", (1e12, 2e11, 8e11), 0, 0),
    '/mnt/odd "name" \\ here': ("/dev/vdc", "xfs", (5e9, 1e9, 4e9), 1000, 900),
    "/mnt/broken": ("/dev/vdd", "ext4", None, 0, 0),
    "/mnt/nothing": ("nothing", "ramfs", (0, 0, 0), 0, 0),
    "/mnt/share": ("nas:/export", "nfs4", (2e12, 1e12, 1e12), 10, 5),
    "/proc": ("proc", "proc", (0, 0, 0), 0, 0),
    "/var/lib/docker/overlay2/1/merged": ("overlay", "overlay", (100e9, 40e9, 55e9), 1, 1),
}


class _Process:
    def __init__(self, state: str | Exception) -> None:
        self._state = state

    def status(self) -> str:
        if isinstance(self._state, Exception):
            raise self._state
        return self._state


def _disk_usage(mountpoint: str) -> SimpleNamespace:
    space = MOUNTS[mountpoint][2]
    if space is None:
        raise OSError(5, "Input/output error", mountpoint)
    total, used, free = space
    return SimpleNamespace(total=total, used=used, free=free)


@pytest.fixture
def frozen_host(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Freeze the host; the returned MonkeyPatch changes single answers."""
    answers = {
        "cpu_times": lambda percpu: [
            CpuTimes(100.5, 1.25, 50.0, 1000.0, 5.0, 0.0, 0.5, 0.25, 20.0, 0.0),
            CpuTimes(90.0, 0.0, 40.0, 1010.0, 4.0, 0.0, 0.25, 0.0, 0.0, 0.0),
        ],
        "cpu_freq": lambda percpu: [SimpleNamespace(current=2600.0), SimpleNamespace(current=0.0)],
        "cpu_count": lambda logical=True: 2 if logical else None,
        "virtual_memory": lambda: Memory(8e9, 6e9, 25.0, 2e9, 3e9, 1e9, 1e9, 1e8, 2.9e9, 5e7, 1e8),
        "swap_memory": lambda: SimpleNamespace(total=2e9, used=5e8, free=1.5e9, sin=4096, sout=8192),
        "getloadavg": lambda: (0.5, 0.25, 0.125),
        "net_io_counters": lambda pernic, nowrap: {
            "lo": Network(10, 10, 1, 1, 0, 0, 0, 0),
            "eth0": Network(1_000, 2_000, 30, 40, 5, 6, 7, 8),
        },
        "net_if_stats": lambda: {"lo": SimpleNamespace(isup=True), "eth0": SimpleNamespace(isup=False)},
        "disk_io_counters": lambda perdisk, nowrap: {
            "vda": Disk(10, 20, 4096, 8192, 1, 2, 1500),
            "vda1": Disk(10, 20, 4096, 8192, 1, 2, 1500),
            "loop0": Disk(0, 0, 0, 0, 0, 0, 0),
        },
        "disk_partitions": lambda **_: [
            SimpleNamespace(device=device, mountpoint=place, fstype=kind, opts="rw")
            for place, (device, kind, *_) in MOUNTS.items()
        ],
        "disk_usage": _disk_usage,
        "process_iter": lambda: [
            _Process(state)
            for state in ("running", "sleeping", "sleeping", "parked", psutil.NoSuchProcess(7), psutil.AccessDenied(8))
        ],
        "boot_time": lambda: 1_700_000_000.0,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(psutil, name, answer)
    monkeypatch.setattr(psutil, "WINDOWS", False)
    inodes = {place: SimpleNamespace(f_files=files, f_ffree=free) for place, (*_, files, free) in MOUNTS.items()}
    monkeypatch.setattr("exporter.mounts.os", SimpleNamespace(statvfs=inodes.__getitem__))
    monkeypatch.setattr("exporter.collectors.clock.time", SimpleNamespace(time=lambda: 1_700_086_400.5))
    monkeypatch.setattr("socket.gethostname", lambda: "imagined")
    uname = SimpleNamespace(system="Linux", release="6.1.0", machine="x86_64")
    monkeypatch.setattr("platform.uname", lambda: uname)
    monkeypatch.setattr("platform.freedesktop_os_release", lambda: {"ID": "debian", "VERSION_ID": "12"})
    return monkeypatch
