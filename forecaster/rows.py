"""Rows: where each series has its place in arrays that outlive a round, while series come and go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

_SPARE = 100
"""Rows of gone series that are never worth dropping."""

Number = TypeVar("Number", bound=np.generic)


class Rows:
    """Key of a series (`label_key`) -> row. New keys get new rows at the end. Not for several threads."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self.keys = list(keys)
        self._row = {key: row for row, key in enumerate(self.keys)}
        self._seen = np.zeros(len(self.keys), np.int64)
        self._round = 0
        self._last: tuple[Sequence[str], NDArray[np.intp]] = ((), np.empty(0, np.intp))

    def __len__(self) -> int:
        return len(self.keys)

    def of(self, keys: Sequence[str]) -> NDArray[np.intp]:
        """The rows of these series, -1 for one without."""
        return np.array([self._row.get(key, -1) for key in keys], np.intp)

    def enter(self, keys: Sequence[str]) -> NDArray[np.intp]:
        """The rows of the series of this round; one not seen before gets a new row."""
        self._round += 1
        if self._last[0] != keys:
            for key in keys:
                if key not in self._row:
                    self._row[key] = len(self.keys)
                    self.keys.append(key)
            self._seen = padded(self._seen, len(self.keys), 0)
            self._last = (list(keys), self.of(keys))
        rows = self._last[1]
        self._seen[rows] = self._round
        return rows

    def crowded(self) -> NDArray[np.intp] | None:
        """The rows to keep, when series that are gone outnumber those of this round; those seen last stay."""
        present = len(self._last[0])
        if len(self) <= 2 * present + _SPARE:
            return None
        latest = np.argsort(-self._seen, kind="stable")[: present + present // 2]
        return np.sort(latest)

    def keep(self, kept: NDArray[np.intp]) -> None:
        """Keep these rows only, in this order: every array by row has to be indexed the same way."""
        self.keys = [self.keys[row] for row in kept.tolist()]
        self._row = {key: row for row, key in enumerate(self.keys)}
        self._seen = self._seen[kept]
        self._last = ((), np.empty(0, np.intp))


def padded(array: NDArray[Number], length: int, fill: Any, axis: int = 0) -> NDArray[Number]:
    """`array` with `fill` at the end of `axis` up to `length`; itself where it is as long."""
    missing = length - array.shape[axis]
    if missing <= 0:
        return array
    shape = [*array.shape]
    shape[axis] = missing
    return np.concatenate([array, np.full(shape, fill, array.dtype)], axis)
