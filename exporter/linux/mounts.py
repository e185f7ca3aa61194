"""Mounted filesystems, as the first process sees them: the host's, also from within a service's or container's view."""

from __future__ import annotations

import os
import re

from exporter.linux.files import KeptFile
from exporter.paths import Paths
from exporter.system import Mount

_ESCAPED = re.compile(rb"\\([0-7]{3})")


class Mounts:
    """System /proc/1/mounts, or its own where that is hidden; makes the list anew only when its text has changed."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._first = KeptFile(paths.proc("1/mounts"))
        self._own = KeptFile(paths.proc("self/mounts"))
        self._kept: tuple[bytes, list[Mount]] = (b"", [])

    def read(self) -> list[Mount]:
        """See System."""
        if text := self._first.read_if_there():
            return self._parsed(text, True)
        return self._parsed(self._own.read(), False)

    def _parsed(self, text: bytes, of_host: bool) -> list[Mount]:
        kept = self._kept
        if kept[0] != text:
            fields = ([_unescaped(field) for field in line.split(b" ", 3)[:3]] for line in text.splitlines())
            kept = self._kept = (
                text,
                [self._mount(*three) for three in fields if of_host or self._paths.holds(three[1])],
            )
        return kept[1]

    def _mount(self, device: str, place: str, kind: str) -> Mount:
        mount_point = self._paths.shown(place)
        return Mount(device, mount_point, kind, self._paths.reached(mount_point))


def _unescaped(field: bytes) -> str:
    r"""A field as it is: the kernel writes blanks and backslashes as three octal digits, `\040`."""
    plain = _ESCAPED.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), field) if b"\\" in field else field
    return os.fsdecode(plain)
