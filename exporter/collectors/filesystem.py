"""Filesystems: size, what is available and used, inodes."""

from __future__ import annotations

from collections.abc import Iterable

import psutil

from cloudpulse import logs, names
from exporter.config import FilesystemSettings
from exporter.families import Family, many
from exporter.mounts import Patient, Usage, usage

_FIELDS = {
    "size": names.FILESYSTEM_SIZE,
    "available": names.FILESYSTEM_AVAILABLE,
    "used": names.FILESYSTEM_USED,
    "files": names.FILESYSTEM_FILES,
    "files_free": names.FILESYSTEM_FILES_FREE,
}

log = logs.get(__name__)


class FilesystemCollector:
    """Reads psutil. A mount point that fails is left out, and so is one of size 0, which holds no files."""

    def __init__(self, settings: FilesystemSettings) -> None:
        self._mount_points = settings.excluded_mount_points
        self._types = settings.excluded_types
        self._patient = Patient()

    def collect(self) -> Iterable[Family]:
        """See Collector."""
        found: dict[tuple[str, str, str], Usage] = {}
        # A mount over another hides it, and the call asks the upper one: the later entry is that.
        for mount in {mount.mountpoint: mount for mount in psutil.disk_partitions(all=True)}.values():
            if mount.mountpoint in self._mount_points or mount.fstype in self._types:
                continue
            try:
                answer = (self._patient if _remote(mount.device, mount.fstype) else usage)(mount.mountpoint)
            except OSError as error:
                log.debug("filesystem left out", mountpoint=mount.mountpoint, error=str(error))
                continue
            if answer.size > 0:
                found[mount.device, mount.mountpoint, mount.fstype] = answer
        for field, definition in _FIELDS.items():
            yield many(definition, ((labels, getattr(answer, field)) for labels, answer in found.items()))


def _remote(device: str, kind: str) -> bool:
    """Whether another machine or program may have to answer: `host:/path`, `//host/share`, FUSE, Plan 9."""
    return ":/" in device or device.startswith("//") or kind.startswith(("fuse", "9p", "nfs", "cifs", "smb", "ceph"))
