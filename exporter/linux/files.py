"""Files of /proc and /sys that are read at every scrape."""

from __future__ import annotations

import os

_ENOUGH = 1 << 16
"""Bytes asked for at once: more than most of these files have."""


class KeptFile:
    """A file that is opened once and read from its beginning again and again, by several threads at once.

    Opening is most of the cost of reading these files; the kernel writes their text anew for whoever reads from
    offset 0. A file that another has replaced would not be noticed, which doesn't happen in /proc and /sys.
    """

    def __init__(self, path: str, *, at_once: bool = False) -> None:
        """`at_once`: the kernel gives all of it that there is room for, as it does with files of a single record."""
        self._path = path
        self._at_once = at_once
        self._open: _Open | None = None

    def read(self) -> bytes:
        """The whole text now. Raises OSError that names the file."""
        try:
            if (kept := self._open) is not None:
                return kept.read(self._at_once)
        except OSError:  # its device is gone, and there may be another of that name
            self._open = None
        kept = _Open(self._path)
        try:
            text = kept.read(self._at_once)
        except OSError as error:
            raise type(error)(error.errno, error.strerror, self._path) from error
        self._open = kept
        return text

    def read_if_there(self) -> bytes:
        """The same; nothing where this kernel has no such file or shows it to others only."""
        try:
            return self.read()
        except (FileNotFoundError, PermissionError):
            return b""


class _Open:
    """A descriptor, closed when the last thread has let go of it: its number soon belongs to another file."""

    def __init__(self, path: str) -> None:
        self._descriptor = -1
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, at_once: bool) -> bytes:
        text = piece = os.pread(self._descriptor, _ENOUGH, 0)
        # Longer files come in pieces of a page or so, whatever is asked for: only an empty piece is the end.
        while piece if not at_once else len(piece) == _ENOUGH:
            piece = os.pread(self._descriptor, _ENOUGH, len(text))
            text += piece
        return text

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
