"""Every platform but Linux, and whatever it has there, read by psutil."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import psutil

from cloudpulse.shared import Shared
from exporter.paths import Paths
from exporter.processes import UNKNOWN, Process
from exporter.sensors import Sensors, Temperature
from exporter.system import Mount, System, Values

_COUNTED_TWICE = ("guest", "guest_nice")
"""A guest's time is in `user` and `nice`, too."""

_DISK = {
    "read_bytes": ("read_bytes", 1.0),
    "write_bytes": ("written_bytes", 1.0),
    "read_count": ("reads", 1.0),
    "write_count": ("writes", 1.0),
    "busy_time": ("io_seconds", 1000.0),
}
"""psutil's field, ours, and how many of its units make one of ours. Only FreeBSD and Linux know the busy time."""

_NETWORK = {
    "bytes_recv": "receive_bytes",
    "bytes_sent": "transmit_bytes",
    "packets_recv": "receive_packets",
    "packets_sent": "transmit_packets",
    "errin": "receive_errors",
    "errout": "transmit_errors",
    "dropin": "receive_drops",
    "dropout": "transmit_drops",
}


def elsewhere(paths: Paths) -> System:
    """The host that this runs on."""
    processes = Shared(_processes)
    return System(
        paths=paths,
        cpu_seconds=_cpu_seconds,
        cpu_frequencies=_cpu_frequencies,
        cpu_counts=_cpu_counts,
        memory=lambda: psutil.virtual_memory()._asdict(),
        swap=_swap,
        load=_load,
        pressure=dict,
        boot_time=psutil.boot_time,
        networks=_networks,
        networks_up=_networks_up,
        disks=_disks,
        mounts=_mounts,
        process_states=lambda: Counter(process.state for process in processes()),
        processes=processes,
        command_line=_command_line,
        sensors=_sensors,
    )


def _cpu_seconds() -> Mapping[str, Values]:
    found = {}
    for number, times in enumerate(psutil.cpu_times(percpu=True)):
        modes = times._asdict()
        found[str(number)] = {mode: modes[mode] for mode in modes if mode not in _COUNTED_TWICE}
    return found


def _cpu_frequencies() -> Values:
    # psutil has no cpu_freq where the platform has none, and gives 0 for a CPU that is off.
    read = getattr(psutil, "cpu_freq", None)
    try:
        found = read(percpu=True) if read else None
    except (NotImplementedError, OSError):  # a virtual machine that shows no frequency is no failure
        return {}
    return {str(number): f.current * 1e6 for number, f in enumerate(found or ()) if f.current > 0}


def _cpu_counts() -> Mapping[str, int]:
    counts = {"logical": psutil.cpu_count(), "physical": psutil.cpu_count(logical=False)}
    return {kind: count for kind, count in counts.items() if count is not None}


def _swap() -> Values:
    swap = psutil.swap_memory()
    found: dict[str, float] = {"total": swap.total, "used": swap.used, "free": swap.free}
    # psutil gives 0 for the traffic where the platform doesn't count it.
    return found if psutil.WINDOWS else found | {"in": swap.sin, "out": swap.sout}


def _load() -> Sequence[float]:
    # Windows has no load average: psutil's imitation begins as a 0 for nothing.
    return () if psutil.WINDOWS else psutil.getloadavg()


def _networks() -> Mapping[str, Values]:
    # nowrap=False: psutil would hide counters that restart, which is Prometheus' own work, and does it better.
    devices = psutil.net_io_counters(pernic=True, nowrap=False)
    return {
        name: {ours: getattr(counters, field) for field, ours in _NETWORK.items()} for name, counters in devices.items()
    }


def _networks_up(devices: Iterable[str]) -> Mapping[str, bool]:
    states = psutil.net_if_stats()
    return {device: states[device].isup for device in devices if device in states}


def _disks() -> Mapping[str, Values]:
    # A machine without disks gives None.
    devices = psutil.disk_io_counters(perdisk=True, nowrap=False) or {}
    return {name: _disk(counters._asdict()) for name, counters in devices.items()}


def _disk(counters: Mapping[str, float]) -> Values:
    return {ours: counters[field] / divisor for field, (ours, divisor) in _DISK.items() if field in counters}


def _mounts() -> Sequence[Mount]:
    found = psutil.disk_partitions(all=True)
    return [Mount(mount.device, mount.mountpoint, mount.fstype, mount.mountpoint) for mount in found]


def _processes() -> list[Process]:
    return [found for process in psutil.process_iter() if (found := _process(process)) is not None]


def _process(process: psutil.Process) -> Process | None:
    try:
        with process.oneshot():
            times = process.cpu_times()
            return Process(
                process.pid,
                process.name(),
                process.status(),
                times.user + times.system,
                process.memory_info().rss,
                process.create_time(),
            )
    except psutil.ZombieProcess:
        return Process(process.pid, "", psutil.STATUS_ZOMBIE, None, None, None)
    except psutil.NoSuchProcess:
        return None
    except psutil.AccessDenied:
        return Process(process.pid, "", _status(process), None, None, None)


def _status(process: psutil.Process) -> str:
    try:
        return process.status()
    except psutil.Error:
        return UNKNOWN


def _command_line(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return ""


def _sensors() -> Sensors:
    """Temperatures on FreeBSD, a battery on FreeBSD, macOS and Windows.

    Without the limits: psutil gives one for the other where it has only one.
    """
    found: Mapping[str, Sequence[Any]] = _ask("sensors_temperatures") or {}
    temperatures = [
        Temperature(chip, f"temp{number}", entry.current)
        for chip, entries in found.items()
        for number, entry in enumerate(entries, 1)
    ]
    battery = _ask("sensors_battery")
    if battery is None:
        return Sensors(temperatures)
    return Sensors(temperatures, (), {"battery": battery.percent / 100}, battery.power_plugged)


def _ask(function: str) -> Any:
    """What psutil's function says; None where psutil has none for the platform, or the host has nothing to read."""
    ask = getattr(psutil, function, None)
    try:
        return ask() if ask else None
    except (NotImplementedError, FileNotFoundError):
        return None
