"""Blocks: a stretch of columns of a target's history, packed into half the memory, one file each.

A block is immutable: what is new makes a new one in its place, so that a save rewrites a stretch and not the whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

COLUMNS = 256
"""Columns of a block. The first of block n is n * COLUMNS steps after the epoch."""
FAR = 8.0
"""A series this many times further from 0 than it is wide is kept as differences from its first value."""


@dataclass(frozen=True)
class Block:
    """`values[i] + offsets[i]` is the series numbered `rows[i]`; NaN is a gap, and a series of gaps alone is not here.

    float32 keeps 7 digits of the value, or, where the offset isn't 0, of its difference from the offset: enough for
    any forecast, and Unix times keep their seconds.
    """

    rows: NDArray[np.intp]  # rising
    offsets: NDArray[np.float64]
    values: NDArray[np.float32]

    def unpacked(self, columns: slice) -> NDArray[np.float64]:
        """[row, column], of these columns."""
        values = self.values[:, columns].astype(np.float64)
        values += self.offsets[:, None]
        return values

    def replaced(self, first: int, rows: NDArray[np.intp], values: NDArray[np.float64]) -> Block:
        """With `values` of the series `rows` (any order, each once) in the columns from `first` on.

        Whatever else was known in these columns is gone: what Prometheus says now is what counts, gaps too.
        """
        known = ~np.isnan(values).all(axis=1)
        last = first + values.shape[1]
        together = np.union1d(self.rows, rows[known])
        merged = np.full((len(together), COLUMNS), np.nan)
        merged[np.searchsorted(together, self.rows)] = self.unpacked(slice(None))
        merged[:, first:last] = np.nan
        merged[np.searchsorted(together, rows[known]), first:last] = values[known]
        return packed(together, merged)


def packed(rows: NDArray[np.intp], values: NDArray[np.float64]) -> Block:
    """A block of `values` [row, COLUMNS]; `rows` rise. What float32 can't hold (beyond 3e38) is a gap."""
    known = ~np.isnan(values)
    alive = known.any(axis=1)
    rows, values, known = rows[alive], values[alive], known[alive]
    first = values[np.arange(len(rows)), known.argmax(axis=1)]
    with np.errstate(over="ignore"):
        low, high = np.fmin.reduce(values, axis=1), np.fmax.reduce(values, axis=1)
        offsets = np.where(np.maximum(np.abs(low), np.abs(high)) > FAR * (high - low), first, 0.0)
        small = (values - offsets[:, None]).astype(np.float32)
    small[np.isinf(small)] = np.nan
    return Block(rows, offsets, small)


EMPTY = Block(np.empty(0, np.intp), np.empty(0), np.empty((0, COLUMNS), np.float32))
