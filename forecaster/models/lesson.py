"""Windows to learn from: what a network would have been given at an earlier origin, and what came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from forecaster.models import features, stack
from forecaster.models.grid import Grid
from forecaster.models.robust import mean
from forecaster.models.stack import Stack

LEADS, SOON = 32, 11
"""Leads of a window, and how many of them, the first, lie within the first hour at least."""
MOST_WEIGHT = 6.0
"""A window counts at most so much: on a series that repeats itself exactly any error would weigh without end."""
_MOST_CAME = 60.0


@dataclass(frozen=True)
class Lesson:
    """W windows, each with L leads; float32. The first three fields are those of Inputs, the next four of Basis."""

    sequence: NDArray[np.float32]
    traits: NDArray[np.float32]
    steps: NDArray[np.float32]
    stack: NDArray[np.float32]
    width: NDArray[np.float32]
    anchors: NDArray[np.float32]
    prior: NDArray[np.float32]
    came: NDArray[np.float32]  # [W, L], in units of the window's scale; NaN where unknown
    weight: NDArray[np.float32]  # [W]: one over the mean change from day to day
    odds: NDArray[np.float32]  # [W]: how often a window is drawn, against the others

    def given(self) -> tuple[NDArray[np.float32], ...]:
        """What the network reads, in the order in which it takes it."""
        return self.sequence, self.traits, self.steps, self.stack, self.width, self.anchors, self.prior

    def scaled(self, odds: float) -> Lesson:
        """The same windows, drawn `odds` times as often."""
        return Lesson(**{**self._parts(), "odds": self.odds * np.float32(odds)})

    def _parts(self) -> dict[str, NDArray[np.float32]]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def joined(lessons: Sequence[Lesson]) -> Lesson:
    """All windows of several lessons; these have equally many leads."""
    return Lesson(**{f.name: np.concatenate([getattr(lesson, f.name) for lesson in lessons]) for f in fields(Lesson)})


def some_leads(grid: Grid, random: np.random.Generator) -> NDArray[np.intp]:
    """Leads within a day, as many for every origin, a third of them in the first hour; one may come twice."""
    soon = random.integers(0, max(grid.steps(1), min(6, grid.day)), SOON)
    later = random.integers(0, grid.day, LEADS - len(soon))
    return np.sort(np.concatenate([soon, later])).astype(np.intp)


def lesson(
    past: NDArray[np.float64],
    came: NDArray[np.float64],
    grid: Grid,
    leads: NDArray[np.intp],
    start: float,
    fitted: Stack | None = None,
) -> Lesson:
    """Windows of `past` [W, grid.length] and what came after it, `came` [W, L] at `leads`; in the series' own units.

    The first lead's column is at Unix time `start`. Without a `fitted` stack one is fitted on each past.
    """
    scale = stack.scale_of(past, grid)
    scaled = scale.apply(past)
    if fitted is None:
        fitted = stack.fit(scaled, grid, grid.sample(grid.day), start)
    given = features.basis(scaled, grid, leads, start, fitted)
    seen = features.inputs(scaled, grid, leads, start, fitted, given)
    target = np.clip((came - scale.centre[:, None]) / scale.spread[:, None], -_MOST_CAME, _MOST_CAME)
    change = mean(np.abs(scaled[:, grid.day :] - scaled[:, : -grid.day]))
    weight = 1 / np.maximum(np.nan_to_num(change, nan=1.0), 1e-6)
    known = (~np.isnan(target)).any(1)
    arrays = (
        *(seen.sequence, seen.traits, seen.steps),
        *(given.stack, given.width, given.anchors, given.prior),
        *(target, weight, known),
    )
    return Lesson(*(np.asarray(array, np.float32) for array in arrays))
