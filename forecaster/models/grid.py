"""Grid: what a step means in steps of a day, an hour, and lead times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DAY_SECONDS = 86400.0
DAYS = 14
"""History that models look at; more is cut, less is padded with gaps."""

_DENSE_SECONDS, _SPARSE_SECONDS = 3600.0, 300.0


@dataclass(frozen=True)
class Grid:
    """A regular grid with a step in seconds."""

    step: float

    @property
    def day(self) -> int:
        """Steps of a day, at least 1; rounded where the step doesn't divide a day."""
        return max(1, round(DAY_SECONDS / self.step))

    @property
    def daily(self) -> bool:
        """Whether each step has its time of day: the step divides a day."""
        return abs(self.day * self.step - DAY_SECONDS) < 1e-6 * DAY_SECONDS

    @property
    def length(self) -> int:
        """Steps of the history that models look at."""
        return DAYS * self.day

    def steps(self, hours: float) -> int:
        """Steps in `hours`, at least 1."""
        return max(1, round(hours * 3600 / self.step))

    def hours(self, leads: NDArray[np.intp]) -> NDArray[np.float64]:
        """How far ahead the steps `leads` are (0 is the first after the origin), in hours."""
        return (leads + 1.0).astype(np.float64) * (self.step / 3600)

    def clock(self, start: float, leads: NDArray[np.intp]) -> NDArray[np.intp]:
        """Hour of the day in UTC, 0 to 23, of the steps `leads` after Unix time `start`."""
        seconds = (start + leads * self.step) % DAY_SECONDS
        return (seconds // 3600).astype(np.intp)

    def sample(self, horizon: int) -> NDArray[np.intp]:
        """Leads below `horizon` on which to compare: all of the first hour, then one per 5 min, past a day one per h.

        That bounds the cost for fine steps; a step of 5 min or more keeps the whole first day.
        """
        every = max(1, round(_SPARSE_SECONDS / self.step))
        parts = (
            np.arange(0, self.steps(1)),
            np.arange(self.steps(1), self.day, every),
            np.arange(self.day, horizon, self.steps(1)),
        )
        leads = np.concatenate(parts).astype(np.intp)
        return leads[leads < horizon]

    def align(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The last `DAYS` days of [N, T] values, padded with NaN on the left: shape [N, length]."""
        kept = values[:, -self.length :]
        padded = np.full((len(values), self.length), np.nan)
        if kept.shape[1]:
            padded[:, -kept.shape[1] :] = kept
        return padded
