"""Processes from /proc/PID/stat: one small file each for name, state, CPU, memory and start.

psutil reads three and makes an object a process, at five times the cost.
Source: proc_pid_stat(5), https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence

from exporter.paths import Paths
from exporter.processes import UNKNOWN, Process

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_ENOUGH = 1024
"""Bytes: 52 numbers of at most 20 digits would be more, but those wanted are among the first 24."""

_STATES = {
    b"R": "running",
    b"S": "sleeping",
    b"D": "disk-sleep",
    b"T": "stopped",
    b"t": "tracing-stop",
    b"Z": "zombie",
    b"X": "dead",
    b"x": "dead",
    b"K": "wake-kill",
    b"W": "waking",
    b"I": "idle",
    b"P": "parked",
}


Stats = Sequence[tuple[int, bytes]]
"""Of each process, by pid, the text of its file; nothing of one that hides it."""


def read_stats(paths: Paths) -> Stats:
    """All that are there, in the order of their pids. Raises OSError when /proc can't be listed."""
    found = []
    folder = os.open(paths.procfs, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for pid in sorted(map(int, filter(str.isdecimal, os.listdir(folder)))):  # noqa: PTH208  of a descriptor
            try:
                found.append((pid, _read(f"{pid}/stat", folder)))
            except (FileNotFoundError, ProcessLookupError):  # it ended after it was listed
                continue
            except PermissionError:  # a /proc mounted with hidepid=1
                found.append((pid, b""))
    finally:
        os.close(folder)
    return found


def states_of(stats: Stats) -> Mapping[str, int]:
    """How many processes are in each state: a letter of each text, a tenth of the work of parsing all."""
    counts = Counter([stat[place : place + 1] if (place := stat.rfind(b")") + 2) > 1 else b"" for _, stat in stats])
    found: Counter[str] = Counter()
    for letter, count in counts.items():
        found[_STATES.get(letter, UNKNOWN)] += count
    return found


def processes_of(stats: Stats, boot_time: float) -> list[Process]:
    """All that is of use of each."""
    return [
        _parsed(pid, stat, boot_time) if stat else Process(pid, "", UNKNOWN, None, None, None) for pid, stat in stats
    ]


def command_line(paths: Paths, pid: int) -> str:
    """Its arguments, blanks between them; as much as is of use."""
    try:
        return _read(f"{paths.procfs}/{pid}/cmdline").rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _read(path: str, folder: int | None = None) -> bytes:
    # A third of the time of open(), which asks for the file's type, size and position first.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    try:
        return os.read(descriptor, _ENOUGH)
    finally:
        os.close(descriptor)


def _parsed(pid: int, stat: bytes, boot_time: float) -> Process:
    # The name is in parentheses and may itself hold some, and blanks: the last one ends it.
    end = stat.rindex(b")")
    name = stat[stat.index(b"(") + 1 : end].decode(errors="replace")
    fields = stat[end + 2 :].split(None, 22)  # from field 3 of the manual, the state, to 24, the resident pages
    cpu = (int(fields[11]) + int(fields[12])) / _TICKS
    return Process(
        pid,
        name,
        _STATES.get(fields[0], UNKNOWN),
        cpu,
        int(fields[21]) * _PAGE,
        boot_time + int(fields[19]) / _TICKS,
    )
