"""Model and Predictor: before and after training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from forecaster.forecast import Forecast
from forecaster.frame import Frame


@dataclass(frozen=True)
class State:
    """What a Predictor needs to live again: named arrays, and facts that JSON can hold. No code, no pickle."""

    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


class Predictor(Protocol):
    """A trained model. It may be shared by threads; `predict` changes nothing in it."""

    def predict(self, recent: Frame, horizon: int, levels: tuple[float, ...]) -> Forecast:
        """Quantiles for the `horizon` steps after `recent`, using nothing later.

        `recent` has the step and (up to churn) the series of training: a series not seen there gets pooled behaviour,
        one with nothing to go by gets NaN. Quantiles never cross.
        """

    def weights(self, recent: Frame) -> Mapping[str, NDArray[np.float64]]:
        """Model name -> its mean share in the forecast of each series of `recent`, [series]; they add up to 1.

        A model that stands alone has all of it.
        """

    def state(self) -> State:
        """Everything that `Model.restore` needs."""


class Model(Protocol):
    """A way to forecast, before it has seen data."""

    def fit(self, history: Frame, horizon: int) -> Predictor:
        """Learn from `history`, which has a series at least, to forecast up to `horizon` steps ahead. Deterministic."""

    def restore(self, state: State) -> Predictor:
        """The Predictor that gave `state`."""


def label_key(labels: Mapping[str, str]) -> str:
    """Labels as one text, the same for equal labels: how a Predictor finds a series again."""
    return "\x00".join(f"{name}\x01{labels[name]}" for name in sorted(labels))


def printed(key: str) -> str:
    """A `label_key` as people write labels: `{app="a"}`."""
    pairs = [pair.split("\x01", 1) for pair in key.split("\x00") if pair]
    return "{" + ", ".join(f'{name}="{value}"' for name, value in pairs) + "}"


QUANTILE_GRID: NDArray[np.float64] = np.array([0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98])
"""The levels that models work on inside; any asked level is interpolated from them."""
