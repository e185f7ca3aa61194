"""What a benchmark says first: on what machine its figures were taken, and how busy it is."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import psutil


def facts() -> str:
    """One line."""
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"Python {platform.python_version()}, {_processor()} x {psutil.cpu_count()}, {memory:.0f} GiB, "
        f"{platform.system()} {platform.release()}, {load()}"
    )


def load() -> str:
    """Of the last minute, what is measured included."""
    return f"load {os.getloadavg()[0]:.1f}"


def cpu_seconds(process: psutil.Process) -> float:
    """What the process itself has used so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def _processor() -> str:
    """As Linux names it."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
