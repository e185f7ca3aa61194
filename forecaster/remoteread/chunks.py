"""The answer as streamed chunks: frames of `prometheus.ChunkedReadResponse`, one series in each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from forecaster.curves import Block
from forecaster.remoteread import xor
from forecaster.remoteread.rows import encoded, rows, varint

CONTENT_TYPE = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse"

LARGEST_FRAME = 2**20
"""Bytes of chunks in a frame, from which on a series goes on in the next: Prometheus'
--storage.remote.read-max-bytes-in-frame."""


def answer(results: Sequence[Sequence[Block]]) -> Iterator[bytes]:
    """The body, some frames at a time: query after query, series after series.

    Readers look at the first series of a frame only, since Prometheus' own server never sends more in one.
    """
    for index, blocks in enumerate(results):
        query_index = b"\x10" + varint(index) if index else b""
        for part in encoded(rows(blocks), _chunks):
            yield b"".join(
                _frame(row.labels, chunks, query_index) for row, series in part for chunks in _by_frame(series)
            )


def _chunks(block: Block, numbers: NDArray[np.intp]) -> list[list[bytes]]:
    """`repeated Chunk chunks = 2` of these rows, each chunk apart."""
    times = np.rint(block.times * 1000).astype(np.int64)
    return [[_message(chunk) for chunk in row] for row in xor.encode(times, block.values[numbers])]


def _message(chunk: xor.Chunk) -> bytes:
    data = chunk.data
    inner = b"\x08%b\x10%b\x18\x01\x22%b" % (varint(chunk.first), varint(chunk.last), varint(len(data)))
    return b"\x12%b%b%b" % (varint(len(inner) + len(data)), inner, data)


def _by_frame(chunks: Sequence[bytes]) -> Iterator[bytes]:
    held: list[bytes] = []
    size = 0
    for chunk in chunks:
        held.append(chunk)
        size += len(chunk)
        if size >= LARGEST_FRAME:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _frame(labels: bytes, chunks: bytes, query_index: bytes) -> bytes:
    message = b"\n%b%b%b%b" % (varint(len(labels) + len(chunks)), labels, chunks, query_index)
    return b"%b%b%b" % (varint(len(message)), google_crc32c.value(message).to_bytes(4, "big"), message)
