"""Filesystems: size, what is available and used, inodes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cloudpulse import logs, names
from exporter.config import FilesystemSettings
from exporter.families import Family, many
from exporter.mounts import Patient, Usage, usage
from exporter.system import Mount, System

_FIELDS = {
    "size": names.FILESYSTEM_SIZE,
    "available": names.FILESYSTEM_AVAILABLE,
    "used": names.FILESYSTEM_USED,
    "files": names.FILESYSTEM_FILES,
    "files_free": names.FILESYSTEM_FILES_FREE,
}

log = logs.get(__name__)


class FilesystemCollector:
    """Asks each filesystem. One that fails is left out, and so is one of size 0, which holds no files."""

    def __init__(self, settings: FilesystemSettings, system: System) -> None:
        self._mount_points = settings.excluded_mount_points
        self._types = settings.excluded_types
        self._mounts = system.mounts
        self._chosen: tuple[Sequence[Mount], list[Mount]] = ((), [])
        self._patient = Patient()

    def collect(self) -> Iterable[Family]:
        """See Collector."""
        found: dict[tuple[str, str, str], Usage] = {}
        for mount in self._shown():
            try:
                answer = (self._patient if _remote(mount.device, mount.kind) else usage)(mount.reached)
            except OSError as error:
                log.debug("filesystem left out", mountpoint=mount.mount_point, error=str(error))
                continue
            if answer.size > 0:
                found[mount.device, mount.mount_point, mount.kind] = answer
        for field, definition in _FIELDS.items():
            yield many(definition, ((labels, getattr(answer, field)) for labels, answer in found.items()))

    def _shown(self) -> list[Mount]:
        mounts, chosen = self._mounts(), self._chosen
        if chosen[0] is not mounts:
            # A mount over another hides it, and the call asks the upper one: the later entry is that.
            upper = {mount.mount_point: mount for mount in mounts}.values()
            chosen = self._chosen = mounts, [mount for mount in upper if self._wanted(mount)]
        return chosen[1]

    def _wanted(self, mount: Mount) -> bool:
        return mount.mount_point not in self._mount_points and mount.kind not in self._types


def _remote(device: str, kind: str) -> bool:
    """Whether another machine or program may have to answer: `host:/path`, `//host/share`, FUSE, Plan 9."""
    return ":/" in device or device.startswith("//") or kind.startswith(("fuse", "9p", "nfs", "cifs", "smb", "ceph"))
