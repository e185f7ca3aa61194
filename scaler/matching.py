"""Finds what belongs to a series among others that have fewer labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from cloudpulse.promql import Labels

T = TypeVar("T")


class ByLabels(Generic[T]):
    """Things by their labels; `of` finds the one whose labels are all carried by a series, whatever else that has."""

    def __init__(self, things: Iterable[tuple[Labels, T]], merge: Callable[[T, T], T]) -> None:
        """`merge` makes one of two things with the same labels."""
        self._by_names: dict[tuple[str, ...], dict[tuple[str, ...], T]] = {}
        for labels, thing in things:
            names = tuple(sorted(labels))
            found = self._by_names.setdefault(names, {})
            place = tuple(labels[name] for name in names)
            found[place] = merge(found[place], thing) if place in found else thing
        self._most_first = sorted(self._by_names.items(), key=lambda entry: -len(entry[0]))

    def of(self, labels: Labels) -> T | None:
        """The thing with the most labels of those that fit; None where none does."""
        for names, found in self._most_first:
            thing = found.get(tuple(labels.get(name, "") for name in names))
            if thing is not None:
                return thing
        return None
