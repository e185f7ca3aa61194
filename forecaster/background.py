"""What an Issue was made of, as far as it is shown beside it: the past of its series, and the models one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cloudpulse.promql import Labels
from forecaster.frame import Frame
from forecaster.parted import PartedPredictor

SPARK_AHEAD = 16
SPARK_PAST = 32
"""Points of a sparkline at most: the forecast, and twice as long a past, at the same distance."""
SPAN_COLUMNS = 288
"""Columns before the newest whose range is a series' `span`."""


class Past(Protocol):
    """What is known of the series of a target, in memory anyway. For any thread."""

    def of(self, labels: Labels, last: float, length: int) -> Frame:
        """One series in the `length` columns up to Unix time `last`; NaN where nothing is known."""


@dataclass(frozen=True)
class Background:
    """By row as the Issue. Only what a list of all series needs is copied; the rest is read when someone asks.

    Kept whole, the past and every model's path would be more than the forecast itself: at 20,000 series of 1,441
    steps 230 MB for a day of past and 460 MB for four models in float32.
    """

    answered: Sequence[Labels]  # the series as the query answers them, with the metric name
    spark: NDArray[np.float32]  # [series, <= SPARK_PAST], every `spark_every`-th column back from the newest
    span: NDArray[np.float64]  # [series]: the range of the columns before the newest; NaN where nothing is known
    columns: int  # of the whole past
    past: Past
    predictor: PartedPredictor

    def recent(self, row: int, last: float, length: int) -> Frame:
        """The series' newest `length` columns up to Unix time `last`."""
        return self.past.of(self.answered[row], last, min(length, self.columns))

    def medians(self, row: int, labels: Labels, last: float, steps: int) -> Mapping[str, NDArray[np.floating[Any]]]:
        """What each model alone says of a series after `last`: its median by name, [steps], NaN where it is silent.

        Predicted anew for this one series: some milliseconds, where keeping it for all would cost their memory.
        """
        known = self.recent(row, last, self.columns)
        one = Frame(known.start, known.step, (labels,), known.values)
        return {name: said[0] for name, said in self.predictor.predict(one, steps, (0.5,)).parts.items()}


def background(
    frame: Frame, answered: Sequence[Labels], columns: int, steps: int, past: Past, predictor: PartedPredictor
) -> Background:
    """Of an Issue made of `frame`, that predicts `steps`."""
    every = spark_every(steps)
    spark = frame.values[:, ::-every][:, :SPARK_PAST][:, ::-1]
    before = frame.values[:, -1 - SPAN_COLUMNS : -1]
    span = np.fmax.reduce(before, axis=1, initial=np.nan) - np.fmin.reduce(before, axis=1, initial=np.nan)
    with np.errstate(over="ignore"):
        return Background(answered, spark.astype(np.float32), span, columns, past, predictor)


def spark_every(steps: int) -> int:
    """Columns from one point of a sparkline to the next, where `steps` are predicted."""
    return max(1, -(-steps // SPARK_AHEAD))
