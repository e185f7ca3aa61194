"""Whole imagined hosts as trees of files: /proc, /sys and a root filesystem, of any size.

What a tree holds is derived from a device's or a process's number, so that a test can say what must be shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from exporter.paths import Paths

BOOT_TIME = 1_700_000_000

MOUNTS: Mapping[str, tuple[str, str]] = {
    "/proc": ("proc", "proc"),
    "/": ("/dev/vda1", "ext4"),
    "/data": ("/dev/vdb", "btrfs"),
    '/mnt/odd "name" \\ here': ("/dev/vdc", "xfs"),
    "/mnt/broken": ("/dev/vdd", "ext4"),
    "/mnt/nothing": ("nothing", "ramfs"),
    "/mnt/share": ("nas:/export", "nfs4"),
    "/var/lib/docker/overlay2/1/merged": ("overlay", "overlay"),
}
"""Mount point: device and type."""


@dataclass(frozen=True)
class Host:
    """What an imagined host has. The defaults are the small one of the golden file."""

    cpus: int = 2
    disks: Sequence[str] = ("vda", "vda1", "loop0")
    networks: Mapping[str, str] = field(default_factory=lambda: {"lo": "unknown", "eth0": "down"})
    """The state of each."""
    states: str = "RSSP"
    """A letter a process, as proc_pid_stat(5) has them."""
    mounts: Mapping[str, tuple[str, str]] = field(default_factory=lambda: MOUNTS)


def large() -> Host:
    """100 disks, 200 network devices, 5,000 processes."""
    return Host(
        cpus=16,
        disks=[f"nvme{number}n1" for number in range(100)],
        networks={"lo": "unknown"} | {f"veth{number:04x}": "up" for number in range(199)},
        states="RSSSIIIDZS" * 500,
    )


def write(root: Path, host: Host) -> Paths:
    """Write the host's tree under `root`, which is made; returns where its parts are."""
    proc, sys, rootfs = (root / name for name in ("proc", "sys", "rootfs"))
    _write_proc(proc, host)
    for number, text in enumerate(_processes(host), 1):
        _put(proc / str(number) / "stat", text)
    _put(proc / "1/mounts", "".join(_mount_line(place, *about) for place, about in host.mounts.items()))
    for place in host.mounts:
        (rootfs / place[1:]).mkdir(parents=True, exist_ok=True)
    _put(rootfs / "etc/os-release", 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n')
    for name, state in host.networks.items():
        _put(sys / f"class/net/{name}/operstate", f"{state}\n")
        _put(sys / f"class/net/{name}/flags", "0x1003\n")
    for cpu in range(host.cpus):
        _put(sys / f"devices/system/cpu/cpu{cpu}/topology/core_cpus_list", f"{cpu // 2 * 2}-{cpu // 2 * 2 + 1}\n")
        _put(sys / f"devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq", f"{2_600_000 + cpu}\n")
    _write_sensors(sys)
    return Paths(procfs=str(proc), sysfs=str(sys), rootfs=str(rootfs))


def _write_proc(proc: Path, host: Host) -> None:
    for name, text in {
        "stat": _stat(host.cpus),
        "meminfo": MEMINFO,
        "vmstat": "nr_free_pages 732421\npgpgin 200\npswpin 1\npswpout 2\npgfault 3\n",
        "loadavg": "0.50 0.25 0.12 2/300 4242\n",
        "net/dev": _net_dev(host.networks),
        "pressure/cpu": _pressure(1_500_000, 0),
        "pressure/io": _pressure(2_500_000, 1_250_000),
        "pressure/memory": _pressure(750_000, 500_000),
        "pressure/irq": _pressure(None, 250_000),
        "diskstats": "".join(_disk_line(number, name) for number, name in enumerate(host.disks, 1)),
    }.items():
        _put(proc / name, text)


def _pressure(some: int | None, full: int) -> str:
    """Microseconds in all."""
    lines = "" if some is None else f"some avg10=0.00 avg60=0.12 avg300=0.34 total={some}\n"
    return f"{lines}full avg10=0.00 avg60=0.00 avg300=0.00 total={full}\n"


def _write_sensors(sys: Path) -> None:
    """A CPU, two equal drives of which the first has no limit, a fan, a laptop's battery and a mouse's."""
    devices = sys / "devices"
    for number, (device, files) in enumerate(
        {
            "platform/coretemp.0": {
                "name": "coretemp",
                "temp1_label": "Package id 0",
                "temp1_input": "47000",
                "temp1_max": "80000",
                "temp1_crit": "100000",
                "temp2_input": "45500",
                "temp2_crit": "0",
            },
            "pci0/nvme0": {"name": "nvme", "temp1_label": "Composite", "temp1_input": "38850", "temp1_max": "65261850"},
            "pci0/nvme1": {"name": "nvme", "temp1_label": "Composite", "temp1_input": "41850", "temp1_max": "84850"},
            "platform/nct6775.656": {"name": "nct6775", "fan1_input": "1213", "fan2_input": "0"},
        }.items()
    ):
        chip = devices / device / f"hwmon/hwmon{number}"
        for name, text in files.items():
            _put(chip / name, f"{text}\n")
        (chip / "device").symlink_to(devices / device)
        (sys / "class/hwmon").mkdir(parents=True, exist_ok=True)
        (sys / f"class/hwmon/hwmon{number}").symlink_to(chip)
    for name, about in {
        "AC": {"type": "Mains", "online": "1"},
        "BAT0": {"type": "Battery", "capacity": "87"},
        "hidpp_battery_0": {"type": "Battery", "scope": "Device", "capacity": "5"},
    }.items():
        for key, text in about.items():
            _put(sys / f"class/power_supply/{name}/{key}", f"{text}\n")


MEMINFO = """\
MemTotal:        7812500 kB
MemFree:         2929687 kB
MemAvailable:    5859375 kB
Buffers:           97656 kB
Cached:          2734375 kB
SwapCached:            0 kB
Active:          2929687 kB
Inactive:        1953125 kB
SwapTotal:       1953125 kB
SwapFree:        1464843 kB
Shmem:             48828 kB
Slab:             195312 kB
SReclaimable:      97656 kB
HugePages_Total:       0
"""


def _stat(cpus: int) -> str:
    """CPU n was in user mode for 100 s and n; a guest's share of that follows the eight modes."""
    lines = [f"cpu{n} {10000 + 100 * n} 125 5000 100000 500 0 50 25 2000 0" for n in range(cpus)]
    total = "cpu  20100 250 10000 200000 1000 0 100 50 4000 0"
    rest = f"intr 12345 0 9 0\nctxt 678\nbtime {BOOT_TIME}\nprocesses 4242\nprocs_running 2\nprocs_blocked 0\n"
    return "\n".join([total, *lines, rest])


def _net_dev(devices: Mapping[str, str]) -> str:
    """Device n (from 1) received n x 1000 bytes, n x 10 packets, and so on to the right."""
    head = (
        "Inter-|   Receive                                                |  Transmit\n"
        " face |bytes    packets errs drop fifo frame compressed multicast|"
        "bytes    packets errs drop fifo colls carrier compressed\n"
    )
    return head + "".join(
        f"{name:>6}: {n * 1000} {n * 10} {n} {n * 2} 0 0 0 0 {n * 2000} {n * 20} {n * 3} {n * 4} 0 0 0 0\n"
        for n, name in enumerate(devices, 1)
    )


def _disk_line(n: int, name: str) -> str:
    """Disk n (from 1): 10n reads of 8n sectors, 20n writes of 16n, and busy for 1.5 s times n."""
    return f" 254 {n:7} {name} {10 * n} 0 {8 * n} 1 {20 * n} 0 {16 * n} 2 0 {1500 * n} 3 0 0 0 0 0 0\n"


def _processes(host: Host) -> list[str]:
    """Process n used n seconds of user and half a second of system time, has 100 n pages, started at n seconds."""
    return [
        f"{n} (worker) {n}) {state} 1 {n} {n} 0 -1 4194560 90 0 0 0 {n * 100} 50 3 4 20 0 1 0 {n * 100} 1000000 "
        f"{n * 100} 18446744073709551615 1 1 0 0 0 0 0 0 65536 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
        for n, state in enumerate(host.states, 1)
    ]


def _mount_line(place: str, device: str, kind: str) -> str:
    escaped = place.replace("\\", "\\134").replace(" ", "\\040")
    return f"{device} {escaped} {kind} rw,relatime 0 0\n"


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
