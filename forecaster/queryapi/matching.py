"""Binary operators: between numbers, between a vector and a number, and between vectors that are matched by labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from forecaster.queryapi.nodes import Matching
from forecaster.queryapi.operators import ARITHMETIC, COMPARISONS, DROPPING, SETS
from forecaster.queryapi.refusals import Refused
from forecaster.queryapi.values import (
    NAME,
    Bools,
    Budget,
    Floats,
    Key,
    Scalar,
    Vector,
    empty,
    nameless,
    vector,
    without_names,
)


def combine(
    operator: str, left: Scalar | Vector, right: Scalar | Vector, matching: Matching, as_bool: bool, budget: Budget
) -> Scalar | Vector:
    """`left operator right`. Raises Refused where Prometheus does."""
    if isinstance(left, Scalar) and isinstance(right, Scalar):
        return Scalar(_computed(operator, left.values, right.values)[0])
    if isinstance(right, Scalar):
        assert isinstance(left, Vector)
        return _with_number(operator, left, *_computed(operator, left.values, right.values), as_bool)
    if isinstance(left, Scalar):
        return _with_number(operator, right, *_computed(operator, left.values, right.values), as_bool)
    if operator in SETS:
        return _sets(operator, left, right, matching)
    return _Pairs(left, right, matching, budget).combine(operator, as_bool)


def _computed(operator: str, left: Floats, right: Floats) -> tuple[Floats, Bools]:
    """Values, and where the operation holds: everywhere for arithmetic, whose values are 1 and 0 otherwise."""
    if operator in ARITHMETIC:
        values: Floats = ARITHMETIC[operator](left, right)
        return values, np.ones(values.shape, bool)
    holds: Bools = COMPARISONS[operator](left, right)
    return holds.astype(np.float64), holds


def _with_number(operator: str, of: Vector, values: Floats, holds: Bools, as_bool: bool) -> Vector:
    if operator in DROPPING or as_bool:
        return without_names(of, values)
    if operator in ARITHMETIC:
        return Vector(of.keys, values, of.present)
    return vector(of.keys, of.values, of.present & holds)


def _signature(key: Key, matching: Matching) -> Key:
    if matching.on:
        return tuple(pair for pair in key if pair[0] in matching.labels)
    return tuple(pair for pair in key if pair[0] not in matching.labels and pair[0] != NAME)


def _sets(operator: str, left: Vector, right: Vector, matching: Matching) -> Vector:
    if operator == "or":
        rest = right.present & ~_found(right, left, matching)
        return vector(
            [*left.keys, *right.keys],
            np.concatenate([left.values, right.values]),
            np.concatenate([left.present, rest]),
        )
    found = _found(left, right, matching)
    return vector(left.keys, left.values, left.present & (found if operator == "and" else ~found))


def _found(of: Vector, among: Vector, matching: Matching) -> Bools:
    """For each row of `of` and each time, whether a match is there in `among`."""
    numbers: dict[Key, int] = {}
    groups = [numbers.setdefault(_signature(key, matching), len(numbers)) for key in among.keys]
    there = np.zeros((len(numbers) + 1, of.present.shape[1]), bool)  # the last row: nobody matches
    np.logical_or.at(there, groups, among.present)
    return there[[numbers.get(_signature(key, matching), len(numbers)) for key in of.keys]]


class _Pairs:
    """Rows of two vectors that match. The many side may have several for one signature, the one side one at a time."""

    def __init__(self, left: Vector, right: Vector, matching: Matching, budget: Budget) -> None:
        self._swapped = matching.many == "right"
        self._many, self._one = (right, left) if self._swapped else (left, right)
        self._matching = matching
        by_signature: dict[Key, list[int]] = defaultdict(list)
        for row, key in enumerate(self._one.keys):
            by_signature[_signature(key, matching)].append(row)
        self._check_one_side(by_signature)
        signatures = [_signature(key, matching) for key in self._many.keys]
        budget.hold(sum(len(by_signature.get(one, ())) for one in signatures), left.values.shape[1])
        found = [(i, j, one) for i, one in enumerate(signatures) for j in by_signature.get(one, ())]
        self._rows = np.array([i for i, _, _ in found], np.intp)
        self._partners = np.array([j for _, j, _ in found], np.intp)
        self._signatures = [one for _, _, one in found]

    def combine(self, operator: str, as_bool: bool) -> Vector:
        if not len(self._rows):
            return empty(self._many.values.shape[1])
        many, one = self._many.values[self._rows], self._one.values[self._partners]
        left, right = (one, many) if self._swapped else (many, one)
        values, holds = _computed(operator, left, right)
        present = self._many.present[self._rows] & self._one.present[self._partners]
        if operator in COMPARISONS and not as_bool:
            # What is compared stands, of the left; Prometheus lets it be the left also with group_right.
            values, present = left, present & holds
        self._check_many_side(present)
        return vector(self._results(operator in DROPPING or as_bool), values, present)

    def _results(self, drop_name: bool) -> list[Key]:
        return [
            self._result(self._many.keys[i], self._one.keys[j], drop_name)
            for i, j in zip(self._rows.tolist(), self._partners.tolist(), strict=True)
        ]

    def _result(self, key: Key, partner: Key, drop_name: bool) -> Key:
        matching = self._matching
        if drop_name:
            key = nameless(key)
        if not matching.many:
            return tuple(pair for pair in key if (pair[0] in matching.labels) == matching.on)
        if not matching.taken:
            return key
        labels, given = dict(key), dict(partner)
        for name in matching.taken:
            labels.pop(name, None)
            if name in given:
                labels[name] = given[name]
        return tuple(sorted(labels.items()))

    def _check_one_side(self, by_signature: dict[Key, list[int]]) -> None:
        side = "left" if self._swapped else "right"
        anyone = self._many.present.any(0)  # without anyone on the other side nothing is matched
        for signature, rows in by_signature.items():
            if len(rows) > 1 and ((self._one.present[rows].sum(0) > 1) & anyone).any():
                raise Refused(
                    f"found duplicate series for the match group {_shown(signature)} on the {side} hand-side of the "
                    "operation;many-to-many matching not allowed: matching labels must be unique on one side"
                )

    def _check_many_side(self, present: Bools) -> None:
        if self._matching.many:
            return  # labels that come out the same are found when rows are made one
        groups: dict[Key, list[int]] = defaultdict(list)
        for row, signature in enumerate(self._signatures):
            groups[signature].append(row)
        if any(len(rows) > 1 and _together(present, rows) for rows in groups.values()):
            raise Refused("multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)")


def _together(present: Bools, rows: Sequence[int] | NDArray[np.intp]) -> bool:
    return bool((present[rows].sum(0) > 1).any())


def _shown(key: Key) -> str:
    return "{" + ", ".join(f'{name}="{value}"' for name, value in key) + "}"
