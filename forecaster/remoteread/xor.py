"""Prometheus' XOR chunks, many at a time: samples in, bytes out.

After Pelkonen et al., "Gorilla" (VLDB 2015), with milliseconds and other classes of time differences. Source:
Prometheus' tsdb/chunkenc/xor.go and tsdb/docs/format/chunks.md.

All bits of all chunks are put into one array of 64-bit words, a chunk beginning at a word of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLES = 120
"""In a chunk at most, as Prometheus cuts them."""

Bits = NDArray[np.uint64]
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Chunk:
    """Samples from Unix millisecond `first` to `last`, both included."""

    first: int
    last: int
    data: bytes


def encode(times: Numbers, values: NDArray[np.float64]) -> list[list[Chunk]]:
    """The chunks of each row of `values`, [series, time]; `times` rise, in Unix milliseconds. A NaN is no sample."""
    seen = ~np.isnan(values)
    counts = seen.sum(1)
    made = _chunks(_Samples(times[np.nonzero(seen)[1]], values[seen].view(np.uint64), counts))
    return [[next(made) for _ in range(-(-count // SAMPLES))] for count in counts.tolist()]


class _Samples:
    """Samples of all chunks, one after the other."""

    def __init__(self, times: Numbers, values: Bits, counts: NDArray[np.intp]) -> None:
        self.times, self.values = times, values
        first = np.cumsum(counts) - counts
        self.place = (np.arange(len(times)) - np.repeat(first, counts)) % SAMPLES
        self.starts = np.flatnonzero(self.place == 0)
        self.lengths = np.diff(self.starts, append=len(times))


def _chunks(samples: _Samples) -> Iterator[Chunk]:
    starts, lengths = samples.starts, samples.lengths
    if not len(starts):
        return
    seconds = starts[lengths > 1] + 1
    # Bits before the usual ones: of a chunk's first two samples, and of a time that is far off.
    extra = np.zeros(len(samples.times), np.int64)
    origin, origin_size = _varints(_zigzag(samples.times[starts]))
    extra[starts] = 16 + origin_size
    delta = np.diff(samples.times, prepend=0)
    stride, stride_size = _varints(delta[seconds].view(np.uint64))
    extra[seconds] = stride_size
    change = np.diff(delta, prepend=0)
    time, time_size, far = _time_bits(change, samples.place)
    extra[far] = 4 + 64
    control, control_size, payload, payload_size = _value_bits(samples)
    head, head_size = (time << control_size.view(np.uint64)) | control, time_size + control_size

    # What fits into a word together is written together.
    joint = np.where(head_size + payload_size <= 64, head_size, 0)
    payload, payload_size = payload | (head << payload_size.view(np.uint64)) * (joint > 0), payload_size + joint
    head_size -= joint

    sizes = extra + head_size + payload_size
    ends = np.cumsum(sizes)
    bits = np.add.reduceat(sizes, starts)
    words = -(-bits // 64)
    first_word = np.cumsum(words) - words
    offset = ends - sizes + np.repeat(first_word * 64 - (ends - sizes)[starts], lengths)

    buffer = np.zeros(int(words.sum()), np.uint64)
    _put(buffer, offset[starts], np.full(len(starts), 16), lengths.astype(np.uint64))
    _put(buffer, offset[starts] + 16, origin_size, origin)
    _put(buffer, offset[seconds], stride_size, stride)
    _put(buffer, offset[far], np.full(len(far), 4), np.full(len(far), 0b1111, np.uint64))
    _put(buffer, offset[far] + 4, np.full(len(far), 64), change[far].view(np.uint64))
    _put(buffer, offset + extra, head_size, head)
    _put(buffer, offset + extra + head_size, payload_size, payload)
    data = buffer.astype(">u8").tobytes()
    first, last = samples.times[starts].tolist(), samples.times[starts + lengths - 1].tolist()
    begin, end = (first_word * 8).tolist(), (first_word * 8 + -(-bits // 8)).tolist()
    for i in range(len(starts)):
        yield Chunk(first[i], last[i], data[begin[i] : end[i]])


def _time_bits(change: Numbers, place: NDArray[np.intp]) -> tuple[Bits, Numbers, NDArray[np.intp]]:
    """How the distance to the sample before differs from that one's: bits, their count, and the samples too far off.

    A chunk's first two samples have none.
    """
    bits, size = np.zeros(len(change), np.uint64), np.where(place >= 2, 1, 0)
    odd = np.flatnonzero((place >= 2) & (change != 0))
    far = odd
    for width, prefix, prefix_size in ((20, 0b1110, 4), (17, 0b110, 3), (14, 0b10, 2)):
        half = 1 << (width - 1)
        near = odd[(change[odd] > -half) & (change[odd] <= half)]
        far = far if width < 20 else np.setdiff1d(odd, near)
        bits[near] = (prefix << width) | (change[near] & ((1 << width) - 1))
        size[near] = prefix_size + width
    size[far] = 0
    return bits, size, far


def _value_bits(samples: _Samples) -> tuple[Bits, Numbers, Bits, Numbers]:
    """How each value differs from the one before: control bits and their count, significant bits and their count.

    A chunk's first value is there whole. All others of a chunk share one window of significant bits, wide enough for
    each. Prometheus opens a new one wherever a value doesn't fit into the last, which has to be done value by value:
    half as long again for 0.2% fewer bytes (864,000 samples with all digits in use).
    """
    xor = samples.values ^ np.concatenate((samples.values[:1], samples.values[:-1]))
    xor[samples.starts] = 0
    changed = xor != 0
    leading = np.where(changed, np.minimum(63 - _highest(xor), 31), 63)
    trailing = np.where(changed, _highest(xor & (~xor + np.uint64(1))), 63)
    lead, trail = np.minimum.reduceat(leading, samples.starts), np.minimum.reduceat(trailing, samples.starts)
    width = 64 - lead - trail

    control, size = changed * np.uint64(0b10), np.where(changed, 2, 1)
    places = np.flatnonzero(changed)
    chunk = np.repeat(np.arange(len(samples.starts)), samples.lengths)[places]
    opening = np.flatnonzero(np.diff(chunk, prepend=-1))
    places, chunk = places[opening], chunk[opening]
    control[places] = (0b11 << 11) | (lead[chunk] << 6) | (width[chunk] & 63)
    size[places] = 13
    payload = xor >> np.repeat(trail, samples.lengths).view(np.uint64)
    payload_size = np.where(changed, np.repeat(width, samples.lengths), 0)

    control[samples.starts], size[samples.starts] = 0, 0
    payload[samples.starts], payload_size[samples.starts] = samples.values[samples.starts], 64
    return control, size, payload, payload_size


def _highest(numbers: Bits) -> Numbers:
    """Position of the highest bit, from 0; anything for 0.

    As the exponent of a float64: the bit below the highest is cleared, or rounding could carry into the next power.
    """
    plain = (numbers & ~(numbers >> np.uint64(1))).astype(np.float64)
    return (plain.view(np.int64) >> 52) - 1023


def _zigzag(numbers: Numbers) -> Bits:
    """Signed numbers as unsigned ones, small ones small."""
    return ((numbers << 1) ^ (numbers >> 63)).view(np.uint64)


def _varints(numbers: Bits) -> tuple[Bits, Numbers]:
    """Varints of numbers below 2**56, as bits in the order in which they are sent, and how many."""
    bits, size = np.zeros(len(numbers), np.uint64), np.zeros(len(numbers), np.int64)
    left, going = numbers.copy(), np.ones(len(numbers), bool)
    while going.any():
        more = left > 0x7F
        byte = (left & np.uint64(0x7F)) | (more.astype(np.uint64) << np.uint64(7))
        bits = np.where(going, (bits << np.uint64(8)) | byte, bits)
        size += 8 * going
        left >>= np.uint64(7)
        going &= more
    return bits, size


def _put(buffer: Bits, offset: Numbers, size: Numbers, bits: Bits) -> None:
    """Write `size` bits each at bit `offset` of the buffer, where zeros are."""
    there = np.flatnonzero(size)
    offset, size, bits = offset[there], size[there], bits[there]
    # `left` bits of the word stay free behind; fewer than none: the rest goes into the next word.
    word, left = offset >> 6, 64 - (offset & 63) - size
    whole = np.where(
        left >= 0, bits << np.maximum(left, 0).view(np.uint64), bits >> np.maximum(-left, 0).view(np.uint64)
    )
    np.bitwise_or.at(buffer, word, whole)
    over = np.flatnonzero(left < 0)
    np.bitwise_or.at(buffer, word[over] + 1, bits[over] << (64 + left[over]).view(np.uint64))
