"""How full mounted filesystems are, without waiting for ever for one that hangs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from exporter.reads import Outcome, Reads

PATIENCE_SECONDS = 2.0
"""How long a scrape waits for the filesystems; Prometheus itself waits 10 s for the whole."""


@dataclass(frozen=True)
class Usage:
    """Bytes and inodes; inodes are None where the filesystem doesn't count them."""

    size: float
    available: float
    used: float
    files: float | None
    files_free: float | None


def usage(mountpoint: str) -> Usage:
    """Ask the filesystem; raises OSError."""
    if not hasattr(os, "statvfs"):
        return _space(mountpoint)
    found = os.statvfs(mountpoint)
    unit = found.f_frsize
    used = (found.f_blocks - found.f_bfree) * unit
    # btrfs and others make inodes as needed and say 0.
    files, files_free = (found.f_files, found.f_ffree) if found.f_files else (None, None)
    return Usage(found.f_blocks * unit, found.f_bavail * unit, used, files, files_free)


def _space(mountpoint: str) -> Usage:
    import psutil  # only Windows needs it, and it is a sixth of the exporter's memory

    space = psutil.disk_usage(mountpoint)
    return Usage(space.total, space.free, space.used, None, None)


class Usages:
    """`usage` of many mount points, each given up after `seconds` and not asked again while it hangs.

    Local ones, too: a failing disk and a FUSE program under any name hang as a server does that is gone.
    """

    def __init__(self, ask: Callable[[str], Usage] = usage, seconds: float = PATIENCE_SECONDS) -> None:
        self._ask = ask
        self._seconds = seconds
        self._reads: Reads[Usage] = Reads("mounts")

    def __call__(self, mountpoints: Iterable[str]) -> dict[str, Outcome[Usage]]:
        """What each mount point said, by its name."""
        return self._reads.read({place: partial(self._ask, place) for place in mountpoints}, self._seconds)
