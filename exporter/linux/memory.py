"""Memory and swap, from the text of /proc/meminfo and /proc/vmstat; in psutil's definitions."""

from __future__ import annotations

import os

from exporter.system import Values

_PAGE = os.sysconf("SC_PAGE_SIZE")


def memory_of(meminfo: bytes) -> Values:
    """See System. What was added later than a kernel, such as MemAvailable in 3.14, is absent with it."""
    total, free = _number(b"MemTotal:", meminfo), _number(b"MemFree:", meminfo)
    available = _number(b"MemAvailable:", meminfo)
    if available is not None and total is not None and available > total:
        available = free  # in a container whose numbers are only partly its own; free(1) does the same
    cached, reclaimable = _number(b"Cached:", meminfo), _number(b"SReclaimable:", meminfo)
    kilobytes = {
        "total": total,
        "available": available,
        "used": None if total is None or available is None else total - available,
        "free": free,
        "buffers": _number(b"Buffers:", meminfo),
        "cached": None if cached is None else cached + (reclaimable or 0),
        "shared": _number(b"Shmem:", meminfo),
    }
    return {name: value * 1024 for name, value in kilobytes.items() if value is not None}


def swap_of(meminfo: bytes, vmstat: bytes) -> Values:
    """See System."""
    found = {}
    total, free = _number(b"SwapTotal:", meminfo), _number(b"SwapFree:", meminfo)
    if total is not None and free is not None:
        found = {"total": total * 1024, "used": (total - free) * 1024, "free": free * 1024}
    for name, key in (("in", b"pswpin "), ("out", b"pswpout ")):
        if (pages := _number(key, vmstat)) is not None:
            found[name] = pages * _PAGE
    return found


def _number(key: bytes, text: bytes) -> int | None:
    """The first number after `key` at the beginning of a line; looking for a few is quicker than parsing all."""
    line = text.find(b"\n" + key) + 1
    if line == 0 and not text.startswith(key):
        return None
    start = line + len(key)
    return int(text[start : text.index(b"\n", start)].removesuffix(b"kB"))
