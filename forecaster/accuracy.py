"""Accuracy: the figures of a target's forecasts, out of every prediction whose time has come.

MASE after Hyndman & Koehler (2006), with the error of seasonal naive over the same times as its scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecaster.frame import Frame
from forecaster.model import State
from forecaster.rows import padded

DAY_SECONDS = 86400.0
WINDOW = 288
"""Predictions that a figure looks back on: older ones fade with this time constant."""
ENOUGH = 5
"""Scored predictions below which there is no figure yet."""


@dataclass(frozen=True)
class Scores:
    """Figures by series (rows) and horizon; NaN where too little has been scored."""

    mase: NDArray[np.float64]  # [series, horizons]
    bias: NDArray[np.float64]  # [series, horizons]; positive: forecasts too high
    coverage: NDArray[np.float64]  # [series, horizons, levels]
    spans: NDArray[np.float64]  # [series, horizons]: times the length of the horizon that was looked back on; 0: none


@dataclass(frozen=True)
class Due:
    """What was predicted for a moment that has come, and what came: one row a series.

    Its numbers are differences from a value of the series, another in each row, so that a series far from 0 is told as
    finely as any; only differences of them mean anything. They are float32 throughout, so that a value predicted
    exactly is one reached exactly.
    """

    horizon: int  # which of the target's leads
    rows: NDArray[np.intp]
    issued: NDArray[np.float32]  # [n, levels], as shown
    raw: NDArray[np.float32]  # [n, levels], before calibration
    medians: NDArray[np.float32]  # [n, models], NaN where a model said nothing
    actual: NDArray[np.float32]  # [n]
    naive: NDArray[np.float32]  # [n], NaN where nothing was known to go by


class Accuracy:
    """Fading sums by series (rows) and lead, of what was scored, and of what seasonal naive was scored for as well.

    [weight, |error|, |error of seasonal naive|, error] of the latter, [weight, hits per level] of the former.
    `spans` are the times between two predictions, as parts of each lead.
    """

    def __init__(self, spans: Sequence[float], levels: tuple[float, ...]) -> None:
        self._spans = np.array(spans)
        self._median = levels.index(0.5)
        self._sums = np.zeros((0, len(spans), 5 + len(levels)))

    def resize(self, rows: int) -> None:
        """Make room for new rows, in which nothing is known."""
        self._sums = padded(self._sums, rows, 0.0)

    def keep(self, rows: NDArray[np.intp]) -> None:
        """Keep these rows only."""
        self._sums = self._sums[rows]

    def add(self, due: Due) -> None:
        """Score what has come."""
        error = due.issued[:, self._median].astype(np.float64) - due.actual
        naive = np.abs(due.naive.astype(np.float64) - due.actual)
        one = np.ones(len(error))
        scored = np.column_stack([one, np.abs(error), naive, error, one, due.actual[:, None] <= due.issued])
        before = self._sums[due.rows, due.horizon]
        after = before * (1 - 1 / WINDOW) + scored
        compared = np.isfinite(naive)[:, None] | (np.arange(after.shape[1]) >= 4)
        self._sums[due.rows, due.horizon] = np.where(compared, after, before)

    def scores(self, rows: NDArray[np.intp], leads: int) -> Scores:
        """The figures of these rows (-1 has none) at the first `leads` leads."""
        sums = np.concatenate([self._sums, np.zeros_like(self._sums, shape=(1, *self._sums.shape[1:]))])[rows, :leads]
        weight, absolute, naive, signed = (sums[:, :, i] for i in range(4))
        with np.errstate(divide="ignore", invalid="ignore"):
            known = (weight >= ENOUGH) & (naive > 0)
            mase = np.where(known, absolute / naive, np.nan)
            bias = np.where(known, signed / naive, np.nan)
            weight = sums[:, :, 4, None]
            coverage = np.where(weight >= ENOUGH, sums[:, :, 5:] / weight, np.nan)
        return Scores(mase, bias, coverage, sums[:, :, 4] * self._spans[:leads])

    def state(self) -> State:
        """The sums, to be kept across a restart."""
        return State({"sums": self._sums})

    def restore(self, state: State) -> None:
        """Take up what `state` gave."""
        self._sums = np.array(state.arrays["sums"])


def naive(frame: Frame, column: int, horizon: float, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """What seasonal naive said of `rows` for `column` when it was `horizon` seconds ahead: a whole number of days
    before, in UTC, without regard to the target's time zone. NaN where nothing is known of that time.
    """
    days = max(1.0, np.ceil(horizon / DAY_SECONDS))
    back = column - round(days * DAY_SECONDS / frame.step)
    return np.asarray(frame.values[rows, back], np.float64) if back >= 0 else np.full(len(rows), np.nan)


def last_known(frame: Frame, column: int, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """The last value of `rows` at or before `column`; NaN where there is none."""
    found = np.full(len(rows), np.nan)
    missing = np.arange(len(rows))
    while column >= 0 and len(missing):
        found[missing] = frame.values[rows[missing], column]
        missing = missing[np.isnan(found[missing])]
        column -= 1
    return found
