"""What is read of a process. One pass over all of them serves every collector of a scrape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

STATES = ("running", "sleeping", "disk-sleep", "stopped", "zombie", "idle")
"""States that are shown even when no process is in them: a count of 0 is true, and alerts need it."""

UNKNOWN = "unknown"
"""The state of a process that we may not look at."""


class Process(NamedTuple):
    """One process; None is what the platform doesn't say, or not to us."""

    pid: int
    comm: str
    """The program's name, which the process may set itself; Linux cuts it after 15 bytes."""
    state: str
    """In psutil's words: running, sleeping, disk-sleep, stopped, tracing-stop, zombie, idle, …"""
    cpu_seconds: float | None
    """User and system time since it started, children not counted."""
    rss_bytes: int | None
    started: float | None
    """Unix time. With the pid it tells a process from a later one with the same pid."""


Processes = Callable[[], Sequence[Process]]
"""All processes now, in the order of their pids. One that ends meanwhile is left out; raises OSError."""
