"""What every service shows of its own process: the `process_*` series that Prometheus' client libraries share.

Names and meanings: https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics. They are Prometheus',
not ours, and so not in `names.py`; the one beside them is. prometheus_client has the same collector, but costs 10 MiB
to import.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from cloudpulse import names, trace
from cloudpulse.families import Family, one
from cloudpulse.names import Definition

CPU = Definition("process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.")
VIRTUAL = Definition("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.")
RESIDENT = Definition("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.")
START = Definition("process_start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds.")
OPEN_FILES = Definition("process_open_fds", "gauge", "Number of open file descriptors.")
MOST_FILES = Definition("process_max_fds", "gauge", "Maximum number of open file descriptors.")
DEFINITIONS = (CPU, VIRTUAL, RESIDENT, START, OPEN_FILES, MOST_FILES)

if sys.platform != "win32":
    import resource

_PROC = "/proc"
_FILES = f"{_PROC}/self/fd"
_ENOUGH = 256
"""Bytes: /proc/self/statm has seven numbers."""
_STARTED = 19
"""Which field of /proc/PID/stat behind the command's name: ticks from boot to start (proc(5), field 22)."""


class Itself:
    """Collects `process_*` of the process that it runs in, where there is a /proc; and its lost spans.

    It always reads its own /proc, whatever folder the exporter reads the host's from.
    """

    def __init__(self) -> None:
        try:
            self._started = _started()
        except OSError:
            self._started = None

    def collect(self) -> Iterable[Family]:
        """Read it now."""
        if (lost := trace.lost()) is not None:
            yield one(names.SPANS_LOST, lost)
        if self._started is None:
            return
        times = os.times()
        yield one(CPU, times.user + times.system)
        yield one(START, self._started)
        yield one(MOST_FILES, _most_files())
        with suppress(OSError):
            yield from _memory()
        # A process that has given up root may not look at its own open files.
        with suppress(OSError):
            yield one(OPEN_FILES, _open_files())


def _memory() -> list[Family]:
    # By the descriptor: open() costs ten times as much, and this is done at every scrape.
    statm = os.open(f"{_PROC}/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    try:
        virtual, resident = os.read(statm, _ENOUGH).split()[:2]
    finally:
        os.close(statm)
    page = os.sysconf("SC_PAGE_SIZE")
    return [one(VIRTUAL, int(virtual) * page), one(RESIDENT, int(resident) * page)]


def _open_files() -> int:
    # Linux tells the number as the folder's size since 6.2; before that it is 0.
    return os.stat(_FILES).st_size or len(os.listdir(_FILES)) - 1  # noqa: PTH116, PTH208  less the listing's own


def _started() -> float | None:
    with Path(_PROC, "stat").open("rb") as stat:
        boot = next((float(line.split()[1]) for line in stat if line.startswith(b"btime ")), None)
    ticks = float(Path(_PROC, "self/stat").read_bytes().rpartition(b")")[2].split()[_STARTED])
    return None if boot is None else boot + ticks / os.sysconf("SC_CLK_TCK")


def _most_files() -> float:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return float("inf") if most == resource.RLIM_INFINITY else most
