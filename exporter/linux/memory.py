"""Memory and swap, from the text of /proc/meminfo and /proc/vmstat; in psutil's definitions."""

from __future__ import annotations

import os

from exporter.system import Values

_PAGE = os.sysconf("SC_PAGE_SIZE")

_SWAP_TRAFFIC = {"in": b"\npswpin ", "out": b"\npswpout "}


def memory(meminfo: bytes) -> Values:
    """See System. What was added later than a kernel, such as MemAvailable in 3.14, is absent with it."""
    kilobytes = _kilobytes(meminfo)
    total, free = kilobytes[b"MemTotal"], kilobytes[b"MemFree"]
    found = {"total": total, "free": free}
    if (available := kilobytes.get(b"MemAvailable")) is not None:
        if available > total:  # in a container whose numbers are only partly its own; free(1) does the same
            available = free
        found |= {"available": available, "used": total - available}
    if (cached := kilobytes.get(b"Cached")) is not None:
        found["cached"] = cached + kilobytes.get(b"SReclaimable", 0)
    for name, key in (("buffers", b"Buffers"), ("shared", b"Shmem")):
        if key in kilobytes:
            found[name] = kilobytes[key]
    return {name: value * 1024 for name, value in found.items()}


def swap(meminfo: bytes, vmstat: bytes) -> Values:
    """See System."""
    kilobytes = _kilobytes(meminfo)
    found = {}
    if b"SwapTotal" in kilobytes:
        total, free = kilobytes[b"SwapTotal"] * 1024, kilobytes[b"SwapFree"] * 1024
        found = {"total": total, "used": total - free, "free": free}
    for name, key in _SWAP_TRAFFIC.items():
        if (start := vmstat.find(key) + len(key)) >= len(key):
            found[name] = int(vmstat[start : vmstat.index(b"\n", start)]) * _PAGE
    return found


def _kilobytes(meminfo: bytes) -> dict[bytes, int]:
    lines = (line.split(None, 2) for line in meminfo.splitlines())
    return {fields[0][:-1]: int(fields[1]) for fields in lines}
