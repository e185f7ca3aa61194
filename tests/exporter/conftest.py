"""A host that never changes: a tree of files, and the answers of those filesystems that it imagines."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from exporter.config import CollectorSwitches, ExporterSettings, TextfileSettings
from exporter.paths import Paths
from exporter.system import System, this_system
from tests.exporter import hosts

Space = tuple[int, int, int, int, int]
"""Blocks of 1,000 bytes, those free, those free for users; inodes, those free."""

SPACES: dict[str, Space | None] = {
    "/": (100_000_000, 60_000_000, 55_000_000, 6_553_600, 6_000_000),
    "/data": (1_000_000_000, 800_000_000, 800_000_000, 0, 0),
    '/mnt/odd "name" \\ here': (5_000_000, 4_000_000, 4_000_000, 1000, 900),
    "/mnt/broken": None,
    "/mnt/nothing": (0, 0, 0, 0, 0),
    "/mnt/share": (2_000_000_000, 1_000_000_000, 1_000_000_000, 10, 5),
}
"""None is a filesystem that fails."""


@dataclass
class FrozenHost:
    """The small imagined host. `write` changes a file of it, `spaces` what a filesystem says."""

    paths: Paths
    spaces: dict[str, Space | None] = field(default_factory=lambda: dict(SPACES))

    @property
    def settings(self) -> ExporterSettings:
        return ExporterSettings(
            paths=self.paths,
            collectors=CollectorSwitches(top=True),
            textfile=TextfileSettings(directories=("textfiles",)),
        )

    @property
    def system(self) -> System:
        """Read anew: what the one before has kept for 100 ms is gone."""
        return this_system(self.paths)

    def write(self, path: str, text: str) -> None:
        """As /proc and /sys change: in place."""
        Path(self.paths.procfs).parent.joinpath(path).write_text(text, encoding="utf-8")

    def statvfs(self, place: str) -> SimpleNamespace:
        space = self.spaces[self.paths.shown(place)]
        if space is None:
            raise OSError(5, "Input/output error", place)
        blocks, free, available, files, files_free = space
        return SimpleNamespace(
            f_frsize=1000, f_blocks=blocks, f_bfree=free, f_bavail=available, f_files=files, f_ffree=files_free
        )


@pytest.fixture
def frozen_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FrozenHost:
    """Freeze the host that a whole page is read from."""
    host = FrozenHost(hosts.write(tmp_path, hosts.Host()))
    monkeypatch.chdir(tmp_path)
    _write_textfile(tmp_path / "textfiles")
    monkeypatch.setattr("exporter.mounts.os", SimpleNamespace(statvfs=host.statvfs))
    monkeypatch.setattr("exporter.collectors.clock.time", SimpleNamespace(time=lambda: 1_700_086_400.5))
    monkeypatch.setattr("socket.gethostname", lambda: "imagined")
    uname = SimpleNamespace(system="Linux", release="6.1.0", machine="x86_64")
    monkeypatch.setattr("platform.uname", lambda: uname)
    return host


def _write_textfile(folder: Path) -> None:
    folder.mkdir()
    file = folder / "backup.prom"
    file.write_text(TEXTFILE, encoding="utf-8")
    os.utime(file, (1_700_000_600.25, 1_700_000_600.25))


TEXTFILE = """\
# HELP backup_duration_seconds How long the backup took.
# TYPE backup_duration_seconds histogram
backup_duration_seconds_bucket{le="60"} 3
backup_duration_seconds_bucket{le="+Inf"} 4
backup_duration_seconds_sum 175.5
backup_duration_seconds_count 4
# HELP backup_files_total Files saved.
# TYPE backup_files_total counter
backup_files_total{path="C:\\\\data \\"new\\""} 1500000
backup_ok 1
"""
