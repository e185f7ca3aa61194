"""A request's body as it comes in, piece by piece: of a known length, or in chunks (RFC 9112, 7.1)."""

from __future__ import annotations

import re

from cloudpulse.errors import CloudPulseError
from cloudpulse.head import Refused

LONGEST_LINE = 1024
"""Bytes of a chunk's size with its extensions, and of a line of the trailer."""
MOST_TRAILER = 8192
"""Bytes."""
CHUNK_COST = 64
"""Bytes that a chunk must have on average: each costs as much time as so many bytes, however few it has."""
MOST_EXCESS = 2**20
"""Bytes of extensions, and of what chunks have too few, over a body (CVE-2023-39326 is why Go counts, too)."""

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?\r\n")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00-\x08\x0a-\x1f\x7f]*\r\n")


class BodyTooLarge(CloudPulseError):
    """An app reads a body that is larger than the server takes."""


class Sized:
    """A body of `length` bytes."""

    def __init__(self, length: int) -> None:
        self.content = bytearray()
        self.whole = length == 0
        self._length = length

    def take(self, raw: bytearray) -> None:
        """Move what belongs to the body from `raw` to `content`."""
        piece = raw[: self._length - len(self.content)]
        del raw[: len(piece)]
        self.content += piece
        self.whole = len(self.content) == self._length


class Chunked:
    """A body in chunks; extensions and the trailer are passed over."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.whole = False
        self._left = 0  # of the present chunk
        self._ending = False  # the CRLF after a chunk is next
        self._trailer: int | None = None  # bytes of it so far
        self._excess = 0

    def take(self, raw: bytearray) -> None:
        """Move what belongs to the body from `raw` to `content`; raises Refused."""
        while not self.whole and (self._chunk(raw) if self._left or self._ending else self._line(raw)):
            pass

    def _chunk(self, raw: bytearray) -> bool:
        if self._left:
            piece = raw[: self._left]
            del raw[: len(piece)]
            self.content += piece
            self._left -= len(piece)
            self._ending = not self._left
        if self._left or len(raw) < 2:
            return False
        if raw[:2] != b"\r\n":
            raise _malformed()
        del raw[:2]
        self._ending = False
        return True

    def _line(self, raw: bytearray) -> bool:
        end = raw.find(b"\n", 0, LONGEST_LINE) + 1
        if not end:
            if len(raw) >= LONGEST_LINE:
                raise _malformed()
            return False
        line = bytes(raw[:end])
        del raw[:end]
        if self._trailer is None:
            self._begin(line)
        else:
            self._pass_over(line, self._trailer + end)
        return True

    def _begin(self, line: bytes) -> None:
        found = _SIZE.fullmatch(line)
        if found is None:
            raise _malformed()
        self._left = int(found[1], 16)
        self._excess = max(0, self._excess + len(line) + CHUNK_COST - self._left)
        if self._excess > MOST_EXCESS:
            raise _malformed()
        if not self._left:
            self._trailer = 0

    def _pass_over(self, line: bytes, size: int) -> None:
        self._trailer = size
        self.whole = line == b"\r\n"
        if not self.whole and (size > MOST_TRAILER or not _TRAILER.fullmatch(line)):
            raise _malformed()


Body = Sized | Chunked


def _malformed() -> Refused:
    return Refused("400 Bad Request", "the body's chunks are malformed")
