"""The series of an answer in their order, each with its labels as they are sent, and their samples some at a time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from forecaster.curves import Block

AT_ONCE = 2**17
"""Samples that are encoded together: enough for numpy to be quick, few enough to be light."""

_MOST_KEPT = 2**14
"""Labels of an answer, and varints, that are made once: of the same grid and the same targets most are the same."""

Encoded = TypeVar("Encoded")


class Row(NamedTuple):
    """One series: `values[number]` of a block, and its labels as protobuf."""

    block: Block
    number: int
    labels: bytes


def rows(blocks: Sequence[Block]) -> list[Row]:
    """All series of the blocks, sorted by their labels as Prometheus sorts: names and values in turn."""
    found = []
    label = functools.lru_cache(_MOST_KEPT)(_label)
    for block in blocks:
        for number, labels in enumerate(block.labels):
            pairs = sorted(labels.items())
            row = Row(block, number, b"".join([label(*pair) for pair in pairs]))
            found.append(("\0".join(map("\0".join, pairs)), row))
    found.sort(key=lambda one: one[0])
    return [row for _, row in found]


def encoded(
    series: Sequence[Row], encode: Callable[[Block, NDArray[np.intp]], Sequence[Encoded]]
) -> Iterator[list[tuple[Row, Encoded]]]:
    """Each series, in order, with what `encode(block, numbers)` makes of it."""
    for part in _parts(series):
        places: dict[int, list[int]] = {}
        for place, row in enumerate(part):
            places.setdefault(id(row.block), []).append(place)
        made: dict[int, Encoded] = {}
        for same in places.values():
            numbers = np.array([part[place].number for place in same], np.intp)
            made.update(zip(same, encode(part[same[0]].block, numbers), strict=True))
        yield [(row, made[place]) for place, row in enumerate(part)]


@functools.lru_cache(_MOST_KEPT)
def varint(number: int) -> bytes:
    """As protobuf has it (https://protobuf.dev/programming-guides/encoding/#varints); negative ones in 64 bits."""
    number &= 0xFFFF_FFFF_FFFF_FFFF
    if number < 0x80:
        return bytes((number,))
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def _parts(series: Sequence[Row]) -> Iterator[Sequence[Row]]:
    first, size = 0, 0
    for i, row in enumerate(series):
        size += len(row.block.times)
        if size >= AT_ONCE:
            yield series[first : i + 1]
            first, size = i + 1, 0
    if first < len(series):
        yield series[first:]


def _label(name: str, value: str) -> bytes:
    """One of `repeated Label labels = 1`, the same in TimeSeries and ChunkedSeries."""
    parts = name.encode(errors="replace"), value.encode(errors="replace")
    label = b"\n%b%b\x12%b%b" % (varint(len(parts[0])), parts[0], varint(len(parts[1])), parts[1])
    return b"\n%b%b" % (varint(len(label)), label)
