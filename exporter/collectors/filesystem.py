"""Filesystems: size, what is available and used, inodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cloudpulse import logs, names
from exporter.config import FilesystemSettings
from exporter.families import Family, many
from exporter.mounts import Usages
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
    """Asks each filesystem. One that fails or hangs is left out but for its error, and so is one of size 0.

    What has no size holds no files.
    """

    def __init__(self, settings: FilesystemSettings, system: System) -> None:
        self._mount_points = settings.excluded_mount_points
        self._types = settings.excluded_types
        self._mounts = system.mounts
        self._chosen: tuple[Sequence[Mount], dict[str, Mount]] = ((), {})
        self._usages = Usages()
        self._failing: frozenset[str] = frozenset()

    def collect(self) -> Iterable[Family]:
        """See Collector."""
        asked = self._shown()
        outcomes = self._usages(asked)
        self._note({place: outcome.error for place, outcome in outcomes.items() if outcome.error is not None})
        labels = {place: (mount.device, mount.mount_point, mount.kind) for place, mount in asked.items()}
        yield many(names.FILESYSTEM_ERROR, ((labels[at], float(x.error is not None)) for at, x in outcomes.items()))
        found = {labels[at]: x.value for at, x in outcomes.items() if x.value is not None and x.value.size > 0}
        for field, definition in _FIELDS.items():
            yield many(definition, ((labels, getattr(answer, field)) for labels, answer in found.items()))

    def _shown(self) -> dict[str, Mount]:
        """By where they are reached."""
        mounts, chosen = self._mounts(), self._chosen
        if chosen[0] is not mounts:
            # A mount over another hides it, and the call asks the upper one: the later entry is that.
            upper = {mount.mount_point: mount for mount in mounts}.values()
            chosen = self._chosen = mounts, {mount.reached: mount for mount in upper if self._wanted(mount)}
        return chosen[1]

    def _wanted(self, mount: Mount) -> bool:
        return mount.mount_point not in self._mount_points and mount.kind not in self._types

    def _note(self, failing: Mapping[str, Exception]) -> None:
        """Log a mount point that begins to fail, or works again."""
        for place in failing.keys() - self._failing:
            log.warning("filesystem left out", mountpoint=place, error=str(failing[place]))
        for place in self._failing - failing.keys():
            log.info("filesystem shown again or unmounted", mountpoint=place)
        self._failing = frozenset(failing)
