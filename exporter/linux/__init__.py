"""Linux, read from /proc and /sys: a quarter of psutil's CPU time, and any host's tree may be given.

The figure is that of `readers` in `benchmarks/exporter.py`.
Source: proc(5) and https://docs.kernel.org/filesystems/proc.html.
"""

from __future__ import annotations

from cloudpulse.shared import Shared
from exporter.linux.cpu import Cpus, Stat
from exporter.linux.devices import Networks, disks, networks
from exporter.linux.files import KeptFile
from exporter.linux.memory import memory_of, swap_of
from exporter.linux.mounts import Mounts
from exporter.linux.pressure import Pressure
from exporter.linux.processes import command_line, processes_of, read_stats, states_of
from exporter.linux.sensors import sensors
from exporter.paths import Paths
from exporter.system import System


def linux(paths: Paths) -> System:
    """The host whose trees `paths` names."""
    stat_file = KeptFile(paths.proc("stat"), at_once=True)
    stat = Shared(lambda: Stat.parsed(stat_file.read()))
    meminfo = Shared(KeptFile(paths.proc("meminfo"), at_once=True).read)
    vmstat = KeptFile(paths.proc("vmstat"))
    loadavg = KeptFile(paths.proc("loadavg"), at_once=True)
    net_dev = KeptFile(paths.proc("net/dev"))
    diskstats = KeptFile(paths.proc("diskstats"))
    stats = Shared(lambda: read_stats(paths))
    cpus = Cpus(paths, stat)
    return System(
        paths=paths,
        cpu_seconds=lambda: stat().seconds,
        cpu_frequencies=cpus.frequencies,
        cpu_counts=cpus.counts,
        memory=lambda: memory_of(meminfo()),
        swap=lambda: swap_of(meminfo(), vmstat.read_if_there()),
        load=lambda: tuple(map(float, loadavg.read().split()[:3])),
        pressure=Pressure(paths).read,
        boot_time=lambda: stat().boot_time,
        networks=lambda: networks(net_dev.read()),
        networks_up=Networks(paths).up,
        disks=lambda: disks(diskstats.read()),
        mounts=Mounts(paths).read,
        process_states=lambda: states_of(stats()),
        processes=lambda: processes_of(stats(), stat().boot_time),
        command_line=lambda pid: command_line(paths, pid),
        sensors=lambda: sensors(paths),
    )
