"""Which series of a target have which labels: found by matchers in far less time than by looking at each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cloudpulse.matcher import Matcher
from cloudpulse.promql import Labels

_MOST_REMEMBERED = 32
"""Regular expressions whose answer is kept for each label: dashboards and rules ask the same ones again and again."""


class LabelIndex:
    """Which series of a target have which labels."""

    def __init__(self, labels: Sequence[Labels]) -> None:
        self.labels = labels
        self._columns: dict[str, _Column] = {}

    def rows(self, matchers: Sequence[Matcher]) -> NDArray[np.intp]:
        """Positions of the series that fulfil every matcher."""
        fits = np.ones(len(self.labels), bool)
        for matcher in matchers:
            column = self._columns.get(matcher.name)
            if column is None:
                column = _Column(self.labels, matcher.name)
                if column.present:  # names that nobody has are anybody's: they would pile up
                    self._columns[matcher.name] = column
            fits &= column.fits(matcher)
        return np.flatnonzero(fits)


class _Column:
    """One label of all series: its distinct values, and which of them each series has."""

    def __init__(self, labels: Sequence[Labels], name: str) -> None:
        self._name = name
        self._numbers: dict[str, int] = {}
        number = self._numbers.setdefault
        self._series = np.array([number(one.get(name, ""), len(self._numbers)) for one in labels], np.intp)
        self._remembered: dict[Matcher, NDArray[np.bool_]] = {}

    @property
    def present(self) -> bool:
        """Whether any series has the label."""
        return self._numbers.keys() != {""}

    def fits(self, matcher: Matcher) -> NDArray[np.bool_]:
        """For each series, whether it fulfils the matcher."""
        if matcher.operator in ("=", "!="):
            same: NDArray[np.bool_] = self._series == self._numbers.get(matcher.value, -1)
            return same if matcher.operator == "=" else ~same
        fits = self._remembered.get(matcher)
        if fits is None:
            values = np.array([matcher.matches({self._name: value}) for value in self._numbers], bool)
            fits = values[self._series]
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered = {}
            self._remembered[matcher] = fits
        return fits
