"""Filesystems: size, what is available and used, inodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import psutil

from cloudpulse import logs, names
from exporter.config import Exclusion, FilesystemSettings
from exporter.families import Family, many
from exporter.mounts import Usages

_FIELDS = {
    "size": names.FILESYSTEM_SIZE,
    "available": names.FILESYSTEM_AVAILABLE,
    "used": names.FILESYSTEM_USED,
    "files": names.FILESYSTEM_FILES,
    "files_free": names.FILESYSTEM_FILES_FREE,
}

log = logs.get(__name__)


class FilesystemCollector:
    """Reads psutil. A mount point that fails or hangs is left out but for its error, and so is one of size 0.

    What has no size holds no files.
    """

    def __init__(self, settings: FilesystemSettings) -> None:
        self._mount_points = Exclusion(settings.mount_points_exclude)
        self._types = Exclusion(settings.types_exclude)
        self._usages = Usages()
        self._failing: frozenset[str] = frozenset()

    def collect(self) -> Iterable[Family]:
        """See Collector."""
        # A mount over another hides it, and the call asks the upper one: the later entry is that.
        mounts = {mount.mountpoint: mount for mount in psutil.disk_partitions(all=True)}
        asked = {
            place: (mount.device, place, mount.fstype)
            for place, mount in mounts.items()
            if place not in self._mount_points and mount.fstype not in self._types
        }
        outcomes = self._usages(asked)
        self._note({place: outcome.error for place, outcome in outcomes.items() if outcome.error is not None})
        yield many(names.FILESYSTEM_ERROR, ((asked[at], float(x.error is not None)) for at, x in outcomes.items()))
        found = {asked[at]: x.value for at, x in outcomes.items() if x.value is not None and x.value.size > 0}
        for field, definition in _FIELDS.items():
            yield many(definition, ((labels, getattr(answer, field)) for labels, answer in found.items()))

    def _note(self, failing: Mapping[str, Exception]) -> None:
        """Log a mount point that begins to fail, or works again."""
        for place in failing.keys() - self._failing:
            log.warning("filesystem left out", mountpoint=place, error=str(failing[place]))
        for place in self._failing - failing.keys():
            log.info("filesystem shown again or unmounted", mountpoint=place)
        self._failing = frozenset(failing)
