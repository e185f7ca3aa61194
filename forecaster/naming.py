"""What series are called: their labels as shown and their keys, made once for as long as they stay the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloudpulse.promql import Labels
from forecaster.model import label_key


@dataclass(frozen=True)
class Named:
    """Some series, in the order of `answered`."""

    answered: tuple[Labels, ...]  # as the query answers
    own: tuple[Labels, ...]  # without the metric name, as forecasts are shown
    keys: tuple[str, ...]  # `label_key` of `own`; two series that differ in the metric name only share one

    def at(self, rows: NDArray[np.intp]) -> Named:
        """The series at `rows`, which rise; itself where these are all."""
        if len(rows) == len(self.keys):
            return self
        chosen = rows.tolist()
        answered, own = tuple(self.answered[i] for i in chosen), tuple(self.own[i] for i in chosen)
        return Named(answered, own, tuple(self.keys[i] for i in chosen))


def named(answered: Sequence[Labels]) -> Named:
    """Of the labels that the query answers."""
    own = tuple({name: value for name, value in labels.items() if name != "__name__"} for labels in answered)
    return Named(tuple(answered), own, tuple(label_key(labels) for labels in own))
