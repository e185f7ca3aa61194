"""Aggregations: many series into one for each group, or the few of each group that stand out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.queryapi.elementwise import quantile
from forecaster.queryapi.refusals import Refused
from forecaster.queryapi.values import NAME, Bools, Floats, Key, Vector, empty, vector

PICKING = ("topk", "bottomk")
_OVERFLOW = 2.0**63


def aggregate(operator: str, of: Vector, parameter: Floats | None, labels: frozenset[str], without: bool) -> Vector:
    """`operator by (labels) (of)`; `parameter` is topk's number or quantile's level at each time. Raises Refused."""
    if operator in PICKING and parameter is not None and not (np.abs(parameter) < _OVERFLOW).all():
        raise Refused(f"Scalar value {parameter[~(np.abs(parameter) < _OVERFLOW)][0]:g} overflows int64")
    if not of.keys:
        return empty(of.values.shape[1])
    groups = _Groups(of, labels, without)
    if operator in PICKING:
        assert parameter is not None
        return groups.picked(parameter, operator == "topk")
    if operator == "quantile":
        assert parameter is not None
        return groups.quantiles(parameter)
    return vector(groups.keys, _REDUCTIONS[operator](groups), groups.counts > 0)


class _Groups:
    """Rows of a vector by the labels that they share."""

    def __init__(self, of: Vector, labels: frozenset[str], without: bool) -> None:
        first: dict[Key, int] = {}
        dropped = labels | {NAME}
        number = []
        for key in of.keys:
            shared = tuple(pair for pair in key if (pair[0] not in dropped if without else pair[0] in labels))
            number.append(first.setdefault(shared, len(first)))
        self.of = of
        self.keys = list(first)
        self._number = np.array(number)
        self._order = np.argsort(self._number, kind="stable")
        self._starts = np.searchsorted(self._number[self._order], np.arange(len(first)))
        self.counts = self.reduce(np.add, of.present.astype(np.intp))

    def reduce(self, operation: np.ufunc, values: NDArray[Any]) -> NDArray[Any]:
        """[group, time] of [row, time]."""
        reduced: NDArray[Any] = operation.reduceat(values[self._order], self._starts, axis=0)
        return reduced

    def filled(self, nothing: float) -> Floats:
        """The vector's values, `nothing` where there is none."""
        return np.where(self.of.present, self.of.values, nothing)

    def spread(self, grouped: Floats) -> Floats:
        """[row, time]: each row's group's."""
        spread: Floats = grouped[self._number]
        return spread

    def quantiles(self, levels: Floats) -> Vector:
        values = [quantile(self.of.values[rows].T, self.of.present[rows].T, levels) for rows in self._rows()]
        return vector(self.keys, np.array(values), self.counts > 0)

    def picked(self, numbers: Floats, largest: bool) -> Vector:
        """The rows that are among their group's `numbers` largest or smallest; NaN is last of all.

        At a single time they are in that order.
        """
        values, present = self.of.values, np.zeros_like(self.of.present)
        arranged: list[int] = []
        for rows in self._rows():
            there = self.of.present[rows]
            order = _falling(values[rows], there) if largest else _falling(-values[rows], there)
            place = np.argsort(order, axis=0, kind="stable")
            present[rows] = there & (place < np.trunc(numbers))
            arranged += rows[order[:, 0]].tolist()
        if values.shape[1] > 1:
            return vector(self.of.keys, values, present)
        return vector([self.of.keys[i] for i in arranged], values[arranged], present[arranged])

    def _rows(self) -> list[NDArray[np.intp]]:
        return np.split(self._order, self._starts[1:])


def _falling(values: Floats, present: Bools) -> NDArray[np.intp]:
    """The order of each column from the largest down; NaN, then what is absent, at the end."""
    rank = np.where(present, np.where(np.isnan(values), 1, 0), 2)
    return np.lexsort((np.where(np.isnan(values), 0.0, -values), rank), axis=0)


def _mean(groups: _Groups) -> Floats:
    """From the least on, so that of equal numbers it is exactly that number."""
    least = groups.reduce(np.fmin, groups.filled(np.nan))
    least = np.where(np.isfinite(least), least, 0.0)
    away = np.where(groups.of.present, groups.of.values - groups.spread(least), 0.0)
    mean: Floats = least + groups.reduce(np.add, away) / np.maximum(groups.counts, 1)
    return mean


def _variance(groups: _Groups) -> Floats:
    """Of a single sample 0, whatever it is."""
    counts = np.maximum(groups.counts, 1)
    mean = _mean(groups)
    away = np.where(groups.of.present, groups.of.values - groups.spread(mean), 0.0)
    return np.where(groups.counts == 1, 0.0, groups.reduce(np.add, away**2) / counts)


_REDUCTIONS: dict[str, Callable[[_Groups], Floats]] = {
    "sum": lambda groups: groups.reduce(np.add, groups.filled(0.0)),
    "min": lambda groups: groups.reduce(np.fmin, groups.filled(np.nan)),
    "max": lambda groups: groups.reduce(np.fmax, groups.filled(np.nan)),
    "avg": _mean,
    "count": lambda groups: groups.counts.astype(np.float64),
    "group": lambda groups: np.ones(groups.counts.shape),
    "stddev": lambda groups: np.sqrt(_variance(groups)),
    "stdvar": _variance,
}
