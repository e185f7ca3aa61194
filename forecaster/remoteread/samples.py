"""The answer as samples: one `prometheus.ReadResponse`, compressed piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cramjam
import numpy as np
from numpy.typing import NDArray

from forecaster.curves import Block
from forecaster.remoteread.rows import Row, encoded, rows, varint

CONTENT_TYPE = "application/x-protobuf"


def answer(results: Sequence[Sequence[Block]]) -> Iterator[bytes]:
    """The body: snappy's block format, a result for each query.

    A block is its length and then pieces that stand alone
    (https://github.com/google/snappy/blob/main/format_description.txt), so the whole is never in memory.
    """
    queries = [_Result(rows(blocks)) for blocks in results]
    yield varint(sum(len(query.head) + query.size for query in queries))
    for query in queries:
        yield _compressed(query.head)
        for piece in query.pieces():
            yield _compressed(piece)


def _compressed(piece: bytes) -> bytes:
    return bytes(memoryview(cramjam.snappy.compress_raw(piece))[len(varint(len(piece))) :])


class _Result:
    """One QueryResult, whose size is known before it is made."""

    def __init__(self, series: Sequence[Row]) -> None:
        self._series = series
        seen = {id(row.block): row.block for row in series}
        counts = {key: (~np.isnan(block.values)).sum(1).tolist() for key, block in seen.items()}
        widths = {key: _records(block.times).itemsize for key, block in seen.items()}
        lengths = [len(row.labels) + counts[id(row.block)][row.number] * widths[id(row.block)] for row in series]
        self._heads = [b"\n" + varint(length) for length in lengths]
        self.size = sum(map(len, self._heads)) + sum(lengths)
        self.head = b"\n" + varint(self.size)

    def pieces(self) -> Iterator[bytes]:
        heads = iter(self._heads)
        for part in encoded(self._series, _samples):
            yield b"".join(piece for row, samples in part for piece in (next(heads), row.labels, samples))


def _samples(block: Block, numbers: NDArray[np.intp]) -> list[bytes]:
    """`repeated Sample samples = 2` of these rows; a NaN is left out."""
    values = block.values[numbers]
    table = np.broadcast_to(_records(block.times), values.shape).copy()
    table["value"] = values
    seen = ~np.isnan(values)
    whole = np.atleast_1d(seen.all(1))
    return [(table[i] if whole[i] else table[i][seen[i]]).tobytes() for i in range(len(values))]


def _records(times: NDArray[np.float64]) -> NDArray[np.void]:
    """A Sample for each time, in bytes as they are sent, with room for its value.

    Times are varints of one length, the longest's (6 bytes from 1971 to 2109): so all Samples are of the same size.
    """
    numbers = [varint(time) for time in np.rint(times * 1000).astype(np.int64).tolist()]
    size = max(map(len, numbers))
    fields = [("head", "S3"), ("value", "<f8"), ("tag", "S1"), ("time", "u1", (size,))]
    table = np.empty(len(times), np.dtype(fields))
    table["head"] = bytes((0x12, 1 + 8 + 1 + size, 0x09))
    table["value"] = 0
    table["tag"] = b"\x10"
    table["time"] = np.frombuffer(b"".join(_longer(one, size) for one in numbers), np.uint8).reshape(-1, size)
    return table


def _longer(number: bytes, size: int) -> bytes:
    """The same varint in `size` bytes, which protobuf allows."""
    missing = size - len(number)
    if not missing:
        return number
    return bytes((*number[:-1], number[-1] | 0x80, *[0x80] * (missing - 1), 0))
