"""The *.prom files of directories, each read again only when it has changed."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cloudpulse.errors import CloudPulseError
from exporter.config import TextfileSettings
from exporter.textformat import FormatError, Written, families


class _Refused(CloudPulseError):
    """A file that can't be shown now; the message says why, and nothing of what is in it."""


@dataclass(frozen=True, eq=False)
class Reading:
    """What the last reading of a file gave: its families, or why there are none."""

    version: tuple[int, ...]
    """Differs when the file does."""
    mtime: float
    families: tuple[Written, ...] = ()
    refusal: str | None = None

    @property
    def size(self) -> int:
        """Bytes that are shown."""
        return 0 if self.refusal else self.version[2]


class Textfiles:
    """Looks at the directories at each `read`. Not for two threads at once."""

    def __init__(self, settings: TextfileSettings) -> None:
        self._settings = settings
        self._kept: dict[str, Reading] = {}

    def read(self) -> tuple[Mapping[str, Reading], dict[str, str]]:
        """Each file's reading, the same object as before where it is the same file; and what can't be read, and why.

        In the order of the directories, and of names in each.
        """
        problems: dict[str, str] = {}
        self._kept = dict(self._readings(problems))
        return self._kept, problems

    def _readings(self, problems: dict[str, str]) -> Iterator[tuple[str, Reading]]:
        room = self._settings.max_total_bytes
        for directory in self._directories():
            try:
                with os.scandir(directory) as entries:
                    paths = sorted(entry.path for entry in entries if entry.name.endswith(".prom"))
            except OSError as error:
                problems[directory] = error.strerror or str(error)
                continue
            for path in paths:
                try:
                    reading = _read(path, self._kept.get(path), self._settings.max_file_bytes, room)
                    room -= reading.size
                    yield path, reading
                except FileNotFoundError:  # it went after it was listed
                    continue
                except OSError as error:
                    problems[path] = error.strerror or str(error)
                except _Refused as error:
                    problems[path] = str(error)

    def _directories(self) -> Iterator[str]:
        for pattern in self._settings.directories:
            # A pattern that matches nothing is a mistake to be told, as is a directory that isn't there.
            yield from sorted(glob.glob(pattern)) or [pattern]  # noqa: PTH207  absolute, too


def _read(path: str, kept: Reading | None, limit: int, room: int) -> Reading:
    """The file as it is now: what was kept if it is the same. Raises OSError and _Refused."""
    now = Path(path).stat()
    if room < now.st_size <= limit:
        raise _Refused("with those before it larger than the config's textfile.max_total_bytes")
    if kept is not None and kept.version == _version(now):
        return kept
    if not stat.S_ISREG(now.st_mode):
        raise _Refused("not a regular file")
    # Should a pipe have taken its place meanwhile, opening it must not wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    with os.fdopen(descriptor, "rb") as file:
        now = os.fstat(descriptor)
        if not stat.S_ISREG(now.st_mode):
            raise _Refused("not a regular file")
        data = file.read(limit + 1)
        after = os.fstat(descriptor)
    if _version(now) != _version(after):
        raise _Refused("written while it was read: write to a name without .prom, and rename that")
    return _parsed(data, _version(now), now.st_mtime, limit)


def _parsed(data: bytes, version: tuple[int, ...], mtime: float, limit: int) -> Reading:
    if len(data) > limit:
        return Reading(version, mtime, refusal=f"larger than {limit} bytes, the config's textfile.max_file_bytes")
    try:
        return Reading(version, mtime, tuple(families(data.decode())))
    except UnicodeDecodeError:
        return Reading(version, mtime, refusal="not UTF-8 text")
    except FormatError as error:
        return Reading(version, mtime, refusal=str(error))


def _version(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
