"""When will it cross? From quantile paths to seconds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forecaster.store import Issue


def time_to_threshold(issue: Issue, threshold: float, now: float) -> NDArray[np.float64]:
    """Seconds from Unix time `now` until each quantile path is at or above `threshold`; [series, levels].

    0 where the newest observation already is, +Inf where the path stays below, NaN without a forecast.
    Between two steps the path is a straight line, so the answer doesn't jump by whole steps.
    """
    values = issue.forecast.values
    count, steps, levels = values.shape
    before = np.concatenate([np.repeat(issue.observed[:, None, None], levels, axis=2), values], axis=1)
    reached = values >= threshold
    first = np.argmax(reached, axis=1)  # [series, levels]; 0 also if never: told apart below
    rows, columns = np.indices((count, levels))
    low, high = before[rows, first, columns], before[rows, first + 1, columns]
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.where(high > low, (threshold - low) / (high - low), 1.0)
    # Without a newest observation the line before the first step is unknown: the step itself counts.
    part = np.clip(np.where(np.isnan(part), 1.0, part), 0.0, 1.0)
    start = issue.forecast.start - issue.forecast.step
    seconds = np.maximum(start + (first + part) * issue.forecast.step - now, 0.0)
    seconds = np.where(reached.any(axis=1), seconds, np.inf) if steps else np.full((count, levels), np.inf)
    seconds = np.where((issue.observed >= threshold)[:, None], 0.0, seconds)
    return np.where(np.isnan(values).all(axis=1), np.nan, seconds)
