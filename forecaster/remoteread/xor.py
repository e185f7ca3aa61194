"""Prometheus' XOR chunks, many at a time: samples in, bytes out.

After Pelkonen et al., "Gorilla" (VLDB 2015), with milliseconds and other classes of time differences. Source:
Prometheus' tsdb/chunkenc/xor.go and tsdb/docs/format/chunks.md.

All bits of all chunks are put into one array of 64-bit words, a chunk beginning at a word of its own. What a value's
bits are depends on the value before it, so this goes from sample to sample, but through all chunks at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLES = 120
"""In a chunk at most, as Prometheus cuts them."""
_NONE = 255
"""More leading zeros than any window has: nothing was sent yet, or nothing has changed."""

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
    extra = np.zeros(len(samples.times), np.int64)
    """Bits before the usual ones: of a chunk's first two samples, and of a time that is far off."""
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

    A chunk's first value is there whole.
    """
    xor = samples.values ^ np.concatenate(([np.uint64(0)], samples.values[:-1]))
    first = samples.place == 0
    same = xor == 0
    leading, trailing = np.minimum(63 - _highest(xor), 31), _highest(xor & (~xor + np.uint64(1)))
    leading[same], trailing[same] = _NONE, _NONE
    anew = _windows(samples, leading, trailing)

    significant = 64 - leading - trailing
    anew_bits = (0b11 << 11) | (leading << 6) | (significant & 63)
    control = np.where(anew, anew_bits, np.where(same, 0, 0b10)).astype(np.uint64)
    size = np.where(anew, 13, np.where(same, 1, 2))
    payload, payload_size = xor >> np.where(same, 0, trailing).astype(np.uint64), np.where(same, 0, significant)
    control[first], size[first] = 0, 0
    payload[first], payload_size[first] = samples.values[first], 64
    return control, size, payload, payload_size


def _windows(samples: _Samples, leading: Numbers, trailing: Numbers) -> NDArray[np.bool_]:
    """Which samples open a new window of significant bits; `leading` and `trailing` become those of the windows."""
    anew = np.zeros(len(leading), bool)
    window = np.full(len(samples.starts), _NONE), np.zeros(len(samples.starts), np.int64)
    for place in range(1, SAMPLES):
        which = np.flatnonzero(samples.lengths > place)
        here = samples.starts[which] + place
        lead, trail = leading[here], trailing[here]
        opens = (lead < window[0][which]) | (trail < window[1][which])
        changed = lead != _NONE
        window[0][which[opens]], window[1][which[opens]] = lead[opens], trail[opens]
        anew[here] = opens
        leading[here] = np.where(changed, window[0][which], _NONE)
        trailing[here] = np.where(changed, window[1][which], _NONE)
    return anew


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
    word, left = offset >> 6, 64 - (offset & 63) - size
    """Bits that stay free behind; fewer than none: the rest goes into the next word."""
    whole = np.where(
        left >= 0, bits << np.maximum(left, 0).view(np.uint64), bits >> np.maximum(-left, 0).view(np.uint64)
    )
    np.bitwise_or.at(buffer, word, whole)
    over = np.flatnonzero(left < 0)
    np.bitwise_or.at(buffer, word[over] + 1, bits[over] << (64 + left[over]).view(np.uint64))
