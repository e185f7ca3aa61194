"""Finds what belongs to a series among others that have fewer labels."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from operator import itemgetter
from typing import Generic, TypeVar

from cloudpulse.promql import Labels
from cloudpulse.yielding import with_rests

T = TypeVar("T")


class ByLabels(Generic[T]):
    """Things by their labels; `of` finds the one whose labels are all carried by a series, whatever else that has."""

    def __init__(self, things: Iterable[tuple[Labels, T]], merge: Callable[[T, T], T]) -> None:
        """`merge` makes one of two things with the same labels."""
        by_names: dict[tuple[str, ...], tuple[Callable[[Labels], Hashable], dict[Hashable, T]]] = {}
        by_order: dict[tuple[str, ...], tuple[Callable[[Labels], Hashable], dict[Hashable, T]]] = {}
        for labels, thing in with_rests(things):
            order = tuple(labels)
            if order not in by_order:  # sorted once for each order, and not for each thing
                names = tuple(sorted(labels))
                by_order[order] = by_names.setdefault(names, (itemgetter(*names) if names else _nothing, {}))
            values_of, found = by_order[order]
            place = values_of(labels)
            found[place] = merge(found[place], thing) if place in found else thing
        self._most_first = [entry for _, entry in sorted(by_names.items(), key=lambda entry: -len(entry[0]))]

    def of(self, labels: Labels) -> T | None:
        """The thing with the most labels of those that fit; None where none does."""
        for values_of, found in self._most_first:
            try:
                return found[values_of(labels)]
            except KeyError:  # a label that the series lacks, or another value
                continue
        return None


def _nothing(_: Labels) -> Hashable:
    return ()
