"""Many series by column, in blocks: what History knows, in memory and on disk.

A column is a grid point, counted in steps since the epoch, so that it is the same after a restart.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloudpulse import logs
from cloudpulse.errors import StoreError
from cloudpulse.promql import Labels, Series
from forecaster import storage
from forecaster.blocks import COLUMNS, EMPTY, Block
from forecaster.frame import Frame, from_series
from forecaster.model import State, label_key

log = logs.get(__name__)


@dataclass(frozen=True)
class _Stored:
    """A block's file, read."""

    labels: tuple[Labels, ...]
    offsets: NDArray[np.float64]
    values: NDArray[np.float32]
    first: int
    end: int


class Columns:
    """What is known of one query, from column `first` up to, not including, `end`: without a hole, in any order.

    `save` and `of` may be called by other threads than the one that calls the rest.
    """

    def __init__(self, step: float, folder: Path, facts: Mapping[str, Any]) -> None:
        """`step` in seconds; `facts` name what this is about, and files in `folder` about anything else are left."""
        self.first = self.end = 0
        self._step = step
        self._folder = folder
        self._facts = {**facts, "columns": COLUMNS}
        self._blocks: dict[int, Block] = {}
        self._changed: set[int] = set()
        self._labels: list[Labels] = []
        self._rows: dict[str, int] = {}
        self._lock = threading.Lock()
        self._saving = threading.Lock()

    @property
    def series(self) -> int:
        """How many there are."""
        return len(self._labels)

    def put(self, first: int, end: int, series: Sequence[Series]) -> None:
        """What Prometheus says of the columns from `first` up to `end`, which touch what is known or overlap it."""
        part = from_series(series, first * self._step, self._step, end - first)
        with self._lock:
            rows = np.array([self._row(labels) for labels in part.labels], np.intp)
            for number in range(first // COLUMNS, (end - 1) // COLUMNS + 1):
                begin, stop = max(first, number * COLUMNS), min(end, (number + 1) * COLUMNS)
                block = self._blocks.get(number, EMPTY)
                values = part.values[:, begin - first : stop - first]
                self._blocks[number] = block.replaced(begin - number * COLUMNS, rows, values)
                self._changed.add(number)
            self.first, self.end = min(first, self.first), max(end, self.end)

    def start_anew(self, column: int) -> None:
        """Forget all; what is put next ends at `column`."""
        with self._lock:
            self._blocks, self._labels, self._rows = {}, [], {}
            self._changed = set()
            self.first = self.end = column

    def forget_before(self, column: int) -> None:
        """Drop the blocks that end before `column`, and series that were in no other."""
        old = [number for number in self._blocks if (number + 1) * COLUMNS <= column]
        if not old:
            return
        with self._lock:
            for number in old:
                del self._blocks[number]
                self._changed.discard(number)
            self.first = max(self.first, (max(old) + 1) * COLUMNS)
            self.end = max(self.end, self.first)
            self._renumber()

    def frame(self, first: int, end: int) -> Frame:
        """The series with a value in the columns from `first` up to `end`, in the order in which they came."""
        parts = []
        alive = np.zeros(len(self._labels), bool)
        for number, block in self._blocks.items():
            begin, stop = max(first - number * COLUMNS, 0), min(end - number * COLUMNS, COLUMNS)
            if begin < stop:
                seen = ~np.isnan(block.values[:, begin:stop]).all(axis=1)
                alive[block.rows[seen]] = True
                parts.append((number * COLUMNS + begin - first, block, seen, slice(begin, stop)))
        place = np.cumsum(alive) - 1
        values = np.full((int(alive.sum()), end - first), np.nan)
        for column, block, seen, inside in parts:
            piece = block.unpacked(inside)[seen]
            values[place[block.rows[seen]], column : column + piece.shape[1]] = piece
        labels = tuple(self._labels[row] for row in np.flatnonzero(alive))
        return Frame(first * self._step, self._step, labels, values)

    def of(self, labels: Labels, first: int, end: int) -> NDArray[np.float64]:
        """One series in the columns from `first` up to `end`, NaN where nothing is known. For any thread."""
        values = np.full(end - first, np.nan)
        with self._lock:
            row = self._rows.get(label_key(labels), -1)
            blocks = [item for item in self._blocks.items() if item[0] * COLUMNS < end]
        for number, block in blocks:
            begin, stop = max(first - number * COLUMNS, 0), min(end - number * COLUMNS, COLUMNS)
            place = int(np.searchsorted(block.rows, row))
            if begin < stop and place < len(block.rows) and block.rows[place] == row:
                at = number * COLUMNS + begin - first
                values[at : at + stop - begin] = (
                    block.values[place, begin:stop].astype(np.float64) + block.offsets[place]
                )
        return values

    def save(self) -> None:
        """Write the blocks that changed, each whole or not at all; a crash costs those not yet written.

        Raises StoreError; then the rest stays to be written.
        """
        with self._saving:
            with self._lock:
                changed = sorted(self._changed)  # rising: a crash leaves no hole before the newest
            for number in changed:
                self._save(number)
            with self._lock:
                kept = set(self._blocks)
            for number in self._numbers() if kept else ():  # what isn't loaded yet is not too old
                if number not in kept:
                    self._path(number).unlink(missing_ok=True)

    def load(self) -> None:
        """Take up what an earlier process saved, from the newest back to the first that is missing or corrupt."""
        storage.sweep(self._folder)
        with self._lock:
            for number in reversed(self._numbers()):
                stored = self._read(number)
                if stored is not None and (not self._blocks or stored.end == self.first):
                    self._take_up(number, stored)
                elif self._blocks:
                    return

    def _save(self, number: int) -> None:
        with self._lock:
            block = self._blocks.get(number)
            state = self._state(number, block) if block else None
        if state is None:  # forgotten since
            return
        storage.write(self._path(number), state)
        with self._lock:
            if self._blocks.get(number) is block:
                self._changed.discard(number)

    def _take_up(self, number: int, stored: _Stored) -> None:
        rows = np.array([self._row(labels) for labels in stored.labels], np.intp)
        order = np.argsort(rows)
        self.end = self.end if self._blocks else stored.end
        self.first = stored.first
        self._blocks[number] = Block(rows[order], stored.offsets[order], stored.values[order])

    def _read(self, number: int) -> _Stored | None:
        """None where it is corrupt, which is logged, or about something else."""
        try:
            state = storage.read(self._path(number))
        except StoreError as error:
            log.error("a part of the history is read anew", error=str(error))
            return None
        facts, arrays = state.facts, state.arrays
        if any(facts.get(name) != fact for name, fact in self._facts.items()):
            return None
        return _Stored(tuple(facts["labels"]), arrays["offsets"], arrays["values"], facts["first"], facts["end"])

    def _state(self, number: int, block: Block) -> State:
        facts = {
            **self._facts,
            "first": max(self.first, number * COLUMNS),
            "end": min(self.end, (number + 1) * COLUMNS),
            "labels": [self._labels[row] for row in block.rows],
        }
        return State({"offsets": block.offsets, "values": block.values}, facts)

    def _row(self, labels: Labels) -> int:
        row = self._rows.setdefault(label_key(labels), len(self._labels))
        if row == len(self._labels):
            self._labels.append(labels)
        return row

    def _renumber(self) -> None:
        """Leave out the series that no block has."""
        used = np.zeros(len(self._labels), bool)
        for block in self._blocks.values():
            used[block.rows] = True
        if used.all():
            return
        place = np.cumsum(used) - 1
        for number, block in self._blocks.items():
            self._blocks[number] = Block(place[block.rows], block.offsets, block.values)
        self._labels = [labels for labels, keep in zip(self._labels, used, strict=True) if keep]
        self._rows = {label_key(labels): row for row, labels in enumerate(self._labels)}

    def _numbers(self) -> list[int]:
        found = (path.stem for path in self._folder.glob(f"*{storage.SUFFIX}"))
        return sorted(int(stem) for stem in found if stem.isdecimal())

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}{storage.SUFFIX}"
