"""CPUs from /proc/stat: seconds by mode, how many there are, and when the host booted."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping

from exporter.linux.files import KeptFile
from exporter.paths import Paths
from exporter.system import Values

_TICKS = os.sysconf("SC_CLK_TCK")

_MODES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
"""The first columns of a line. A guest's time follows, and is left out: it is in `user` and `nice` already."""

_MHZ = re.compile(rb"^processor\s*: (\d+)$|^cpu MHz\s*: ([\d.]+)$", re.MULTILINE)


class Cpus:
    """System the text that `stat` gives, and sysfs for what a CPU is."""

    def __init__(self, paths: Paths, stat: Callable[[], bytes]) -> None:
        self._paths = paths
        self._stat = stat
        self._cpuinfo = KeptFile(paths.proc("cpuinfo"))
        self._frequencies: dict[str, KeptFile] = {}
        self._cores: tuple[tuple[str, ...], int | None] = ((), None)

    def seconds(self) -> Mapping[str, Values]:
        """See System."""
        found = {}
        for line in self._lines():
            name, *ticks = line.split(None, len(_MODES) + 1)
            found[name[3:].decode()] = dict(zip(_MODES, [int(t) / _TICKS for t in ticks[: len(_MODES)]], strict=False))
        return found

    def counts(self) -> Mapping[str, int]:
        """See System. Without the topology in sysfs, as some sandboxes have it, the cores are absent."""
        cpus = tuple(line[3 : line.index(b" ")].decode() for line in self._lines())
        if self._cores[0] != cpus:  # which CPUs make a core changes only when one comes or goes
            self._cores = cpus, self._count_cores(cpus)
        cores = self._cores[1]
        return {"logical": len(cpus)} | ({"physical": cores} if cores else {})

    def boot_time(self) -> float:
        """See System."""
        text = self._stat()
        start = text.index(b"\nbtime ") + len(b"\nbtime ")
        return float(text[start : text.index(b"\n", start)])

    def frequencies(self) -> Values:
        """See System. From cpufreq where there is a driver, else what /proc/cpuinfo says on x86."""
        found = {}
        for line in self._lines():
            cpu = line[3 : line.index(b" ")].decode()
            if kilohertz := self._frequency_file(cpu).read_if_there():
                found[cpu] = float(kilohertz) * 1e3
        return found or self._cpuinfo_frequencies()

    def _lines(self) -> list[bytes]:
        """A line for each CPU that is on, `cpu0 1 2 …`; the first of the file, their sum, is left out."""
        text = self._stat()
        return text[: text.index(b"\nintr")].split(b"\n")[1:]

    def _frequency_file(self, cpu: str) -> KeptFile:
        kept = self._frequencies.get(cpu)
        if kept is None:
            path = self._paths.sys(f"devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq")
            kept = self._frequencies[cpu] = KeptFile(path)
        return kept

    def _cpuinfo_frequencies(self) -> Values:
        found, cpu = {}, ""
        for number, megahertz in _MHZ.findall(self._cpuinfo.read_if_there()):
            if number:
                cpu = number.decode()
            else:
                found[cpu] = float(megahertz) * 1e6
        return found

    def _count_cores(self, cpus: tuple[str, ...]) -> int | None:
        siblings = set()
        for cpu in cpus:
            topology = self._paths.sys(f"devices/system/cpu/cpu{cpu}/topology")
            # The second name is the older one, from before Linux 5.3.
            for name in ("core_cpus_list", "thread_siblings_list"):
                if text := KeptFile(f"{topology}/{name}").read_if_there():
                    siblings.add(text)
                    break
        return len(siblings) or None
