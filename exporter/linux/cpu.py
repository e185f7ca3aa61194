"""CPUs from /proc/stat: seconds by mode, how many there are, and when the host booted."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

from exporter.linux.files import KeptFile
from exporter.paths import Paths
from exporter.system import Values

_TICKS = os.sysconf("SC_CLK_TCK")

_MODES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
"""The first columns of a line. A guest's time follows, and is left out: it is in `user` and `nice` already."""

_NUMBERS = re.compile(rb"\nprocessor\s*: (\d+)\n")
_MEGAHERTZ = re.compile(rb"\ncpu MHz\s*: ([\d.]+)\n")
"""Two expressions, since one with a choice would have to look at every letter."""
_MEASURED = b" aperfmperf"
"""A processor that counts its cycles. Without it, and without cpufreq, the kernel writes what it measured at boot, in
virtual machines mostly, and asking again costs 13 µs a CPU: `arch_freq_get_on_cpu` in arch/x86/kernel/cpu/aperfmperf.c.
"""


@dataclass(frozen=True)
class Stat:
    """What is used of /proc/stat."""

    seconds: Mapping[str, Values]
    """Of each CPU that is on, by mode."""
    boot_time: float

    @classmethod
    def parsed(cls, text: bytes) -> Self:
        """From the file's text: a line with the sum of all CPUs, one for each, and others, `btime` among them."""
        seconds = {}
        for line in text[: text.index(b"\nintr")].split(b"\n")[1:]:
            name, *ticks = line.split()
            # Not strict: very old kernels have fewer columns, and all have more.
            seconds[name[3:].decode()] = dict(zip(_MODES, [int(t) / _TICKS for t in ticks], strict=False))
        start = text.index(b"\nbtime ") + len(b"\nbtime ")
        return cls(seconds, float(text[start : text.index(b"\n", start)]))


class Cpus:
    """Reads what `stat` gives, and sysfs for what a CPU is, which is looked up again only when one has come or gone."""

    def __init__(self, paths: Paths, stat: Callable[[], Stat]) -> None:
        self._paths = paths
        self._stat = stat
        self._cpuinfo = KeptFile(paths.proc("cpuinfo"))
        self._layout = _Layout((), None, {})
        self._constant: tuple[_Layout, Values] | None = None

    def counts(self) -> Mapping[str, int]:
        """See System. Without the topology in sysfs, as some sandboxes have it, the cores are absent."""
        layout = self._current()
        return {"logical": len(layout.cpus)} | ({"physical": layout.cores} if layout.cores else {})

    def frequencies(self) -> Values:
        """See System. From cpufreq where there is a driver, else what /proc/cpuinfo says on x86."""
        layout = self._current()
        if not layout.frequencies:
            if self._constant is None or self._constant[0] is not layout:
                text = self._cpuinfo.read_if_there()
                if _MEASURED in text or not text:
                    return _cpuinfo_frequencies(text)
                self._constant = layout, _cpuinfo_frequencies(text)
            return self._constant[1]
        texts = {cpu: file.read_if_there() for cpu, file in layout.frequencies.items()}
        return {cpu: int(kilohertz) * 1e3 for cpu, kilohertz in texts.items() if kilohertz}

    def _current(self) -> _Layout:
        cpus = tuple(self._stat().seconds)
        layout = self._layout
        if layout.cpus != cpus:
            layout = self._layout = _layout(self._paths.sys("devices/system/cpu"), cpus)
        return layout


@dataclass(frozen=True)
class _Layout:
    """Which CPUs are on, how many cores that makes, and the files that have their frequencies."""

    cpus: tuple[str, ...]
    cores: int | None
    frequencies: Mapping[str, KeptFile]


def _layout(folder: str, cpus: tuple[str, ...]) -> _Layout:
    siblings, frequencies = set(), {}
    for cpu in cpus:
        topology = f"{folder}/cpu{cpu}/topology"
        # The second name is the older one, from before Linux 5.3.
        names = (f"{topology}/core_cpus_list", f"{topology}/thread_siblings_list")
        siblings |= set(filter(None, (KeptFile(name).read_if_there() for name in names)))
        frequency = KeptFile(f"{folder}/cpu{cpu}/cpufreq/scaling_cur_freq", at_once=True)
        if frequency.read_if_there():
            frequencies[cpu] = frequency
    return _Layout(cpus, len(siblings) or None, frequencies)


def _cpuinfo_frequencies(cpuinfo: bytes) -> Values:
    numbers, megahertz = _NUMBERS.findall(b"\n" + cpuinfo), _MEGAHERTZ.findall(cpuinfo)
    if len(numbers) != len(megahertz):  # other processors than x86 say it in other words, or not at all
        return {}
    return {cpu.decode(): float(value) * 1e6 for cpu, value in zip(numbers, megahertz, strict=True)}
