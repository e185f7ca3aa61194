"""Forecast: quantiles by series and step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from cloudpulse.promql import Labels


@dataclass(frozen=True)
class Forecast:
    """`values[i, h, k]` is quantile `levels[k]` of series i at Unix time `start + h * step`.

    `start` is one step after the last observed column. Levels rise, and so do the values along them.
    A series without a forecast is NaN throughout. `parts` are the medians of an ensemble's models by name,
    [series, step], NaN where one is silent or was not asked; a model that stands alone has none.
    """

    start: float
    step: float
    levels: tuple[float, ...]
    labels: tuple[Labels, ...]
    values: NDArray[np.float64]
    parts: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or self.values.shape[::2] != (len(self.labels), len(self.levels)):
            raise ValueError(f"{len(self.labels)} series, {len(self.levels)} levels: not {self.values.shape}")

    @property
    def horizon(self) -> int:
        """Number of predicted steps."""
        return int(self.values.shape[1])

    def at(self, levels: Sequence[float]) -> Forecast:
        """The same with these of its levels only."""
        if tuple(levels) == self.levels:
            return self
        columns = [self.levels.index(level) for level in levels]
        return replace(self, levels=tuple(levels), values=self.values[:, :, columns])


def joined(parts: Sequence[Forecast]) -> Forecast:
    """Forecasts of the same steps and levels as one, series after series; what single models said is left out."""
    first = parts[0]
    labels = tuple(labels for part in parts for labels in part.labels)
    return Forecast(first.start, first.step, first.levels, labels, np.concatenate([part.values for part in parts]))
