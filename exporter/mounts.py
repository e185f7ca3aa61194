"""How full a mounted filesystem is, without waiting for ever for a server that is gone."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass

PATIENCE_SECONDS = 2.0
"""How long a scrape waits for one network filesystem; Prometheus itself waits 10 s for the whole."""


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


class Patient:
    """`usage` in a thread of its own, given up after `seconds`.

    The kernel lets nothing interrupt a call to an NFS server that is gone. Until that call ends the mount point
    counts as failed at once, so that stuck threads don't pile up, one a scrape.
    """

    def __init__(self, ask: Callable[[str], Usage] = usage, seconds: float = PATIENCE_SECONDS) -> None:
        self._ask = ask
        self._seconds = seconds
        self._lock = threading.Lock()
        self._under_way: set[str] = set()

    def __call__(self, mountpoint: str) -> Usage:
        """Ask the filesystem; raises OSError, TimeoutError among them."""
        with self._lock:
            if mountpoint in self._under_way:
                raise TimeoutError(f"{mountpoint} has not answered an earlier scrape yet")
            self._under_way.add(mountpoint)
        answer: list[Usage | OSError] = []
        thread = threading.Thread(target=self._run, args=(mountpoint, answer), name="statvfs", daemon=True)
        thread.start()
        thread.join(self._seconds)
        if not answer:
            raise TimeoutError(f"{mountpoint} did not answer within {self._seconds:g} s")
        if isinstance(answer[0], OSError):
            raise answer[0]
        return answer[0]

    def _run(self, mountpoint: str, answer: list[Usage | OSError]) -> None:
        try:
            answer.append(self._ask(mountpoint))
        except OSError as error:
            answer.append(error)
        finally:
            with self._lock:
                self._under_way.discard(mountpoint)
