"""One honest word on a forecast: how far its live figures say that it can be relied on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forecaster.store import Issue

WORDS = ("unknown", "poor", "fair", "good")
"""unknown: nothing can be judged yet. good, fair: all of its conditions below hold. poor: the rest."""

GOOD_MASE, FAIR_MASE = 0.9, 1.1
"""Mean over the judged horizons of the error relative to seasonal naive's: clearly better; no worse than its noise."""
GOOD_COVERAGE, FAIR_COVERAGE = 0.1, 0.25
"""How far a level's share of values at or below it may be from the level, the worst one of the judged horizons."""
LEAST_SPANS = 1.0
"""A horizon is judged once predictions were checked for as long as it is itself: those of one hour overlap almost
wholly where they look a day ahead, and are one piece of luck, good or bad."""
STALE_TRAININGS = 3.0
"""Models last trained more than so many `train_every` ago, or never, are not good; nor is a series with one demoted."""


def trust(issue: Issue) -> list[str]:
    """A word of WORDS for each series."""
    judged = issue.scores.spans >= LEAST_SPANS
    mase = _mean(np.where(judged, issue.scores.mase, np.nan))
    off = np.abs(np.where(judged[:, :, None], issue.scores.coverage, np.nan) - np.asarray(issue.forecast.levels))
    worst = np.fmax.reduce(off.reshape(len(mase), -1), axis=1, initial=-np.inf)
    # A series of which seasonal naive is exactly right has no MASE, but a coverage.
    scored = ~np.isnan(mase) | (worst >= 0)
    fresh = issue.issued_at - issue.trained_at <= STALE_TRAININGS * issue.target.train_every  # False for NaN
    good = _within(mase, GOOD_MASE) & (worst <= GOOD_COVERAGE) & ~_demoted(issue) & fresh
    fair = _within(mase, FAIR_MASE) & (worst <= FAIR_COVERAGE)
    grade = np.where(scored, 1 + fair.astype(int) + (good & fair), 0)
    return [WORDS[g] for g in grade.tolist()]


def _within(mase: NDArray[np.float64], limit: float) -> NDArray[np.bool_]:
    return np.isnan(mase) | (mase <= limit)


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Along the rows, NaN left out; NaN where there is nothing else."""
    known = ~np.isnan(values)
    count = known.sum(1)
    total: NDArray[np.float64] = np.where(known, values, 0.0).sum(1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _demoted(issue: Issue) -> NDArray[np.bool_]:
    """[series]: whether any model has no say at some horizon."""
    out = np.zeros(len(issue.forecast.labels), bool)
    for since in issue.demoted.since.values():
        out |= (~np.isnan(since)).any(1)
    return out
