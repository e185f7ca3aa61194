"""What expressions become: for all times of evaluation at once, series by row and time by column."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloudpulse.promql import Labels
from forecaster.queryapi.refusals import Refused, TimedOut

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Times = NDArray[np.int64]
"""Unix milliseconds, as Prometheus counts."""
Key = tuple[tuple[str, str], ...]
"""A set of labels, by name; empty values are left out."""

NAME = "__name__"
MOST_SAMPLES = 5_000_000


@dataclass(frozen=True)
class Scalar:
    """A number at each time."""

    values: Floats


@dataclass(frozen=True)
class Text:
    """A string."""

    value: str


@dataclass(frozen=True)
class Vector:
    """An instant vector at each time. Where `present` is false there is no sample, whatever `values` holds.

    Every row has a sample at some time, and no two have the same labels.
    """

    keys: Sequence[Key]
    values: Floats
    present: Bools


@dataclass(frozen=True)
class Raw:
    """Samples as they lie, of series on one grid of `times`, which rise."""

    keys: Sequence[Key]
    times: Times
    values: Floats
    present: Bools


Result = Scalar | Text | Vector


class Budget:
    """What one query may take: seconds until it has to be answered, samples loaded, and values in an array."""

    def __init__(self, seconds: float, samples: int = MOST_SAMPLES) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds
        self._most = samples
        self._loaded = 0

    def load(self, rows: int, columns: int) -> None:
        """So many samples more are about to be loaded. Raises Refused, TimedOut."""
        self._loaded += rows * columns
        self.hold(self._loaded, 1)

    def hold(self, rows: int, columns: int) -> None:
        """An array of this size is about to be made. Raises Refused, TimedOut."""
        if rows * columns > self._most:
            raise Refused(
                "query processing would load too many samples into memory in query execution: "
                f"{rows * columns:,}, and {self._most:,} are the most here. Ask for fewer series, or a shorter range"
            )
        self.go_on()

    def go_on(self) -> None:
        """Raises TimedOut when the time is over."""
        if time.monotonic() > self._end:
            raise TimedOut(f"query timed out: it may take {self._seconds:g}s")


def key_of(labels: Labels) -> Key:
    """Of labels in any order."""
    return tuple(sorted((name, value) for name, value in labels.items() if value))


def nameless(key: Key) -> Key:
    """Without `__name__`."""
    return tuple(pair for pair in key if pair[0] != NAME)


def vector(keys: Sequence[Key], values: Floats, present: Bools, *, apart: bool = False) -> Vector:
    """Rows without a sample left out, rows with the same labels made one.

    Two samples of the same labels at the same time are an error, as in Prometheus; with `apart` two rows are, whatever
    their times. Raises Refused.
    """
    rows = np.flatnonzero(present.any(1))
    if len(rows) < len(keys):
        keys, values, present = [keys[i] for i in rows.tolist()], values[rows], present[rows]
    first: dict[Key, int] = {}
    groups = [first.setdefault(key, len(first)) for key in keys]
    if len(first) == len(keys):
        return Vector(keys, values, present)
    counts = np.zeros((len(first), present.shape[1]), np.intp)
    np.add.at(counts, groups, present)
    if apart or counts.max(initial=0) > 1:
        raise Refused("vector cannot contain metrics with the same labelset")
    merged = np.zeros(counts.shape)
    for row, group in enumerate(groups):
        np.copyto(merged[group], values[row], where=present[row])
    return Vector(list(first), merged, counts > 0)


def without_names(one: Vector, values: Floats, present: Bools | None = None, *, apart: bool = False) -> Vector:
    """What an operation makes of a vector's values: `__name__` is dropped."""
    keys = [nameless(key) for key in one.keys]
    return vector(keys, values, one.present if present is None else present, apart=apart)


def empty(columns: int) -> Vector:
    """No series."""
    return Vector([], np.empty((0, columns)), np.empty((0, columns), bool))
