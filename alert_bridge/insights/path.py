"""A forecast's path: what was expected so far, and what is ahead, put together from what was scraped of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

BRIDGED_SECONDS = 3600.0
"""Between horizons that are no further apart the way is a straight line: what was said before knew less."""


@dataclass(frozen=True)
class Path:
    """Quantiles over time: `times` Unix seconds rising, `values` [time, level], NaN where nothing is known."""

    times: Values
    levels: tuple[float, ...]
    values: Values

    def level(self, wanted: float) -> Values | None:
        """The values of one level, None where the forecast hasn't it."""
        found = [k for k, level in enumerate(self.levels) if abs(level - wanted) < 1e-9]
        return self.values[:, found[0]] if found else None

    @property
    def reach(self) -> float:
        """The last moment of which something is known; the first moment where nothing is."""
        known = np.flatnonzero(np.isfinite(self.values).all(axis=1))
        return float(self.times[known[-1]] if len(known) else self.times[0])

    def crosses(self, level: float, limit: float, sign: int) -> float | None:
        """When the quantile `level` first is at or beyond `limit` (above for sign 1), Unix seconds; None if never."""
        values = self.level(level)
        if values is None:
            return None
        away = sign * (values - limit)  # NaN is never beyond
        hits = np.flatnonzero(away >= 0)
        if not len(hits):
            return None
        first = int(hits[0])
        if first == 0 or np.isnan(away[first - 1]):
            return float(self.times[first])
        part = away[first - 1] / (away[first - 1] - away[first])
        return float(self.times[first - 1] + part * (self.times[first] - self.times[first - 1]))


def ahead(
    now: float,
    times: Values,
    levels: tuple[float, ...],
    begin: Values,
    knots: Mapping[float, Values],
    shapes: Mapping[float, Values],
) -> Path:
    """From `begin` now through the newest prediction for each horizon, [level] each, at `times` (the first is now).

    Where horizons are far apart, `shapes[h]` [time, level], what was said h seconds before each time, gives the form of
    the way between: a day's pattern. It is older, so it is moved to start where the last horizon ends, less and less up
    to its own horizon, where it is the newest itself. Without it the path ends.
    """
    values = np.full((len(times), len(levels)), np.nan)
    values[0] = begin
    since_now = times - now
    last_lead, last = 0.0, begin
    for lead, knot in sorted(knots.items()):
        inside = (since_now > last_lead) & (since_now <= lead + 1e-6)
        share = ((since_now[inside] - last_lead) / (lead - last_lead))[:, None]
        shape = shapes.get(lead)
        before = None if shape is None else _at(last_lead, since_now, shape)
        if lead - last_lead <= BRIDGED_SECONDS:
            values[inside] = (1 - share) * last + share * knot
        elif shape is not None and before is not None:
            values[inside] = shape[inside] + (1 - share) * (last - before)
        else:
            break
        last_lead, last = lead, knot
    whole = np.isfinite(values).all(axis=1)
    return Path(times, levels, np.where(whole[:, None], np.sort(values, axis=1), np.nan))


def _at(lead: float, leads: Values, shape: Values) -> Values | None:
    """[level] of `shape` at `lead`, on a straight line between its moments; None where it isn't known."""
    after = int(np.searchsorted(leads, lead - 1e-6))
    if after >= len(leads):
        return None
    low, high = shape[max(after - 1, 0)], shape[after]
    if after == 0 or abs(leads[after] - lead) < 1e-6:
        low = high
    part = 0.0 if after == 0 else (lead - leads[after - 1]) / (leads[after] - leads[after - 1])
    found = low + part * (high - low)
    return found if np.isfinite(found).all() else None
