"""A reader of XOR chunks and of frames, written from Prometheus' description, one bit at a time.

Source: tsdb/docs/format/chunks.md and docs/bstream.md of Prometheus. It is known to be right by reading what a real
Prometheus sends; the encoder shares nothing with it.
"""

from __future__ import annotations

import struct

import google_crc32c

from forecaster.remoteread import remote_pb2


class _Bits:
    def __init__(self, data: bytes) -> None:
        self._text = "".join(f"{byte:08b}" for byte in data)
        self._at = 0

    def take(self, count: int) -> int:
        piece = self._text[self._at : self._at + count]
        if len(piece) < count:
            raise ValueError("the chunk ends early")
        self._at += count
        return int(piece, 2)

    def uvarint(self) -> int:
        number, shift = 0, 0
        while True:
            byte = self.take(8)
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            shift += 7

    def varint(self) -> int:
        number = self.uvarint()
        return (number >> 1) ^ -(number & 1)

    @property
    def left(self) -> str:
        return self._text[self._at :]


def samples(chunk: bytes) -> list[tuple[int, int]]:
    """(Unix milliseconds, bits of the float64) of every sample."""
    bits = _Bits(chunk)
    count = bits.take(16)
    if not count:
        return []
    time, value, distance, leading, trailing = bits.varint(), bits.take(64), 0, 0, 0
    found = [(time, value)]
    for i in range(1, count):
        distance = bits.uvarint() if i == 1 else distance + _difference(bits)
        time += distance
        if bits.take(1):
            if bits.take(1):
                leading, significant = bits.take(5), bits.take(6) or 64
                trailing = 64 - leading - significant
            value ^= bits.take(64 - leading - trailing) << trailing
        found.append((time, value))
    assert "1" not in bits.left
    return found


def _difference(bits: _Bits) -> int:
    for width in (0, 14, 17, 20):
        if not bits.take(1):
            if not width:
                return 0
            number = bits.take(width)
            return number - (1 << width) if number > 1 << (width - 1) else number
    number = bits.take(64)
    return number - (1 << 64) if number >= 1 << 63 else number


def floats(chunk: bytes) -> list[tuple[int, float]]:
    return [(time, struct.unpack(">d", value.to_bytes(8, "big"))[0]) for time, value in samples(chunk)]


def frames(body: bytes) -> list[remote_pb2.ChunkedReadResponse]:
    """Each frame, its checksum compared."""
    found = []
    while body:
        size = shift = used = 0
        while True:
            byte = body[used]
            size |= (byte & 0x7F) << shift
            used, shift = used + 1, shift + 7
            if byte < 0x80:
                break
        checksum, message, body = body[used : used + 4], body[used + 4 : used + 4 + size], body[used + 4 + size :]
        assert len(message) == size
        assert google_crc32c.value(message) == int.from_bytes(checksum, "big")
        found.append(remote_pb2.ChunkedReadResponse.FromString(message))
    return found
