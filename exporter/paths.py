"""Where the host's /proc, /sys and / are: elsewhere than usual for an exporter in a container, and in tests.

The words are node_exporter's: --path.procfs, --path.sysfs, --path.rootfs.
https://github.com/prometheus/node_exporter#docker
"""

from __future__ import annotations

from pathlib import Path

from cloudpulse.config import Section
from cloudpulse.errors import ConfigError


class Paths(Section, frozen=True):
    """Absolute folders. Only Linux has the first two; elsewhere the exporter reads the host that it runs on."""

    procfs: str = "/proc"
    sysfs: str = "/sys"
    rootfs: str = "/"

    def __post_init__(self) -> None:
        for key in self.__struct_fields__:
            if not getattr(self, key).startswith("/"):
                raise ValueError(f'{key}: expected an absolute path, got "{getattr(self, key)}"')

    def check(self) -> None:
        """Raise ConfigError for a folder that was named and isn't there: everything read from it would be absent."""
        for key in self.__struct_fields__:
            path, usual = getattr(self, key), getattr(_USUAL, key)
            if path != usual and not Path(path).is_dir():
                raise ConfigError(
                    f"exporter.paths.{key} (--path.{key}): {path} is not a folder here: "
                    f"name the place where the host's {usual} is mounted"
                )

    def proc(self, path: str) -> str:
        """A file of the process filesystem, such as `stat`."""
        return f"{self.procfs}/{path}"

    def sys(self, path: str) -> str:
        """A file of sysfs, such as `class/net/lo/operstate`."""
        return f"{self.sysfs}/{path}"

    def shown(self, mount_point: str) -> str:
        """A mount point as it is on the host: without the folder under which the host's root is seen here."""
        if not self.holds(mount_point):
            return mount_point
        return mount_point[len(self._root) :] or "/"

    def reached(self, mount_point: str) -> str:
        """Where the host's mount point is found from here."""
        return self._root + mount_point if mount_point != "/" else self._root or "/"

    def holds(self, path: str) -> bool:
        """Whether a path, as it is seen here, is the host's."""
        return path == self._root or path.startswith(self._root + "/")

    @property
    def _root(self) -> str:
        return self.rootfs.rstrip("/")


_USUAL = Paths()
