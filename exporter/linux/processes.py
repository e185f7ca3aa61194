"""Processes from /proc/PID/stat: one small file each for name, state, CPU, memory and start.

psutil reads three and makes an object a process, at five times the cost.
Source: proc_pid_stat(5), https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html.
"""

from __future__ import annotations

import os

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


def read_processes(paths: Paths, boot_time: float) -> list[Process]:
    """All that are there, by pid. Raises OSError when /proc can't be listed."""
    found = []
    # Names only: a Path for each of thousands would cost as much as reading them.
    for pid in sorted(int(name) for name in os.listdir(paths.procfs) if name.isdecimal()):  # noqa: PTH208
        try:
            found.append(_parsed(pid, _read(f"{paths.procfs}/{pid}/stat"), boot_time))
        except (FileNotFoundError, ProcessLookupError):  # it ended after it was listed
            continue
        except PermissionError:  # a /proc mounted with hidepid=1
            found.append(Process(pid, "", UNKNOWN, None, None, None))
    return found


def command_line(paths: Paths, pid: int) -> str:
    """Its arguments, blanks between them; as much as is of use."""
    try:
        return _read(f"{paths.procfs}/{pid}/cmdline").rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _read(path: str) -> bytes:
    # A third of the time of open(), which asks for the file's type, size and position first.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
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
