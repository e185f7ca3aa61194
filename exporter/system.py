"""What is read of an operating system: one function for each kind of thing, whatever platform it is.

`linux` reads /proc and /sys itself; everywhere else psutil does. What a platform doesn't have is left out of the
answer, never 0. Every function may be called by several threads at once, and raises OSError when it can't read.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from exporter.paths import Paths
from exporter.processes import Processes
from exporter.sensors import Sensors

Values = Mapping[str, float]


class Mount(NamedTuple):
    """A mounted filesystem."""

    device: str
    mount_point: str
    """As it is on the host."""
    kind: str
    """Its type, such as ext4."""
    reached: str
    """Where it is found from here."""


@dataclass(frozen=True)
class System:
    """The functions; an answer is never changed afterwards, so that it may be kept and compared."""

    paths: Paths
    cpu_seconds: Callable[[], Mapping[str, Values]]
    """Of each CPU, by its number: the seconds since boot by mode, none of them counted in two modes."""
    cpu_frequencies: Callable[[], Values]
    """Hertz now, by the CPU's number."""
    cpu_counts: Callable[[], Mapping[str, int]]
    """CPUs in use: `logical`, and `physical`, the cores."""
    memory: Callable[[], Values]
    """Bytes: total, available, used, free, buffers, cached, shared; in psutil's definitions."""
    swap: Callable[[], Values]
    """Bytes: total, used, free; in and out since boot."""
    load: Callable[[], Sequence[float]]
    """The averages over 1, 5 and 15 minutes; none on a platform without."""
    pressure: Callable[[], Mapping[str, Values]]
    """Of cpu, io, memory and irq: the seconds in which `some` task waited, and the `full` of them; Linux only."""
    boot_time: Callable[[], float]
    """Unix time."""
    networks: Callable[[], Mapping[str, Values]]
    """By device, since it came: receive_bytes, transmit_bytes, and the same of packets, errors and drops."""
    networks_up: Callable[[Iterable[str]], Mapping[str, bool]]
    """Whether a device is on and can carry traffic (IFF_RUNNING); without those that are gone."""
    disks: Callable[[], Mapping[str, Values]]
    """By device, since it came: read_bytes, written_bytes, reads, writes, io_seconds."""
    mounts: Callable[[], Sequence[Mount]]
    """In the order in which they were mounted; the same object as before when nothing has changed."""
    process_states: Callable[[], Mapping[str, int]]
    """How many processes are in each state that one is in, in psutil's words; raises OSError."""
    processes: Processes
    command_line: Callable[[int], str]
    """A process' whole command line, by its pid; "" where it has none, is gone, or isn't ours to see."""
    sensors: Callable[[], Sensors]
    """Those that answer."""


def this_system(paths: Paths) -> System:
    """That of this platform. Elsewhere than on Linux `paths` has nothing to say."""
    # Imported here: psutil alone is a sixth of the exporter's memory, and Linux does without.
    platform: str = sys.platform  # else mypy takes the other one for dead code
    if platform.startswith("linux"):
        from exporter.linux import linux

        return linux(paths)
    from exporter.elsewhere import elsewhere

    return elsewhere(paths)
