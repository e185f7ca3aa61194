"""Windows of recorded and made-up series, and of what becomes of them when they are mixed, bent and damaged.

Diversity is what carries over to other people's series: measured by leaving one data set out, recorded windows alone
make a network that is worse than the stack on services it hasn't seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from forecaster.models.grid import DAYS, Grid
from forecaster.models.lesson import Lesson, lesson, some_leads
from pretraining import made
from pretraining.recorded import SOURCES, STEP, Recorded, coarser

Values = NDArray[np.float64]

_TRIES, _LEAST_SEEN, _LEAST_POINTS = 20, 0.4, 3
_MIXED_SHARE, _COARSE_SHARE = 0.33, 0.15
_CUT_SHARE, _OUTAGE_SHARE = 0.12, 0.05
_AT_ONCE = 32


@dataclass(frozen=True)
class Window:
    """`past` is a Grid's whole length, `came` the day after it; `sources` are the data sets that both were made of."""

    step: int
    past: Values
    came: Values
    sources: frozenset[str]


@dataclass(frozen=True)
class Pool:
    """Recorded series to draw from; a data set is drawn by the root of how many series it has."""

    series: Sequence[Recorded]

    def plain(self, source: str, step: int, random: np.random.Generator) -> Window | None:
        """A window of one of the source's series; some are coarser, some mixed with a second one of that source."""
        factor = int(random.choice([3, 12])) if step == STEP and random.random() < _COARSE_SHARE else 1
        window = self._drawn(source, step, factor, random)
        if window is None or random.random() >= _MIXED_SHARE:
            return window
        other = self._drawn(source, step, factor, random)
        if other is None:
            return window
        a = float(random.choice([0.15, 0.3, 0.5, 0.7]))
        one, two = _spread(window.past), _spread(other.past)
        past, came = (
            mine * (1 - a) / one + theirs * a / two
            for mine, theirs in ((window.past, other.past), (window.came, other.came))
        )
        return replace(window, past=past, came=came)

    def any(self, random: np.random.Generator) -> Window:
        """A normalised window of any source, on the 5-min grid."""
        sources = [s for s in SOURCES if self._of(s, STEP)]
        odds = np.sqrt([len(self._of(source, STEP)) for source in sources])
        while True:
            window = self._drawn(str(random.choice(sources, p=odds / odds.sum())), STEP, 1, random)
            if window is not None:
                centre, spread = np.nanmedian(window.past), _spread(window.past)
                return replace(window, past=(window.past - centre) / spread, came=(window.came - centre) / spread)

    def _of(self, source: str, step: int) -> list[Recorded]:
        return [one for one in self.series if one.source == source and one.step == step]

    def _drawn(self, source: str, step: int, factor: int, random: np.random.Generator) -> Window | None:
        candidates = self._of(source, step)
        values = candidates[random.integers(len(candidates))].values
        if factor > 1:
            values = coarser(values[: len(values) - random.integers(factor)], factor)
        grid = Grid(step * factor)
        earliest = min(max(len(values) - 3 * grid.day, grid.day), 7 * grid.day)
        latest = len(values) - grid.day // 2
        for _ in range(_TRIES if latest > earliest else 0):
            origin = int(random.integers(earliest, latest))
            past = grid.align(values[None, :origin])[0]
            came = np.full(grid.day, np.nan)
            there = values[origin : origin + grid.day]
            came[: len(there)] = there
            enough = min((~np.isnan(past[-3 * grid.day :])).mean(), (~np.isnan(came)).mean()) > _LEAST_SEEN
            if enough and np.nanmax(past) > np.nanmin(past):
                return Window(step * factor, past, came, frozenset({source}))
        return None


def plain(pool: Pool, counts: dict[tuple[str, int], int], random: np.random.Generator) -> Iterator[Window]:
    """`counts` windows of each (source, step)."""
    for (source, step), count in counts.items():
        drawn = (pool.plain(source, step, random) for _ in range(count))
        yield from (window for window in drawn if window is not None)


def bent(pool: Pool, random: np.random.Generator) -> Window:
    """One window turned over, or through a power, a logarithm or an exponential: other marginals, the same order."""
    window = pool.any(random)
    past, came = _bend(random)(window.past, window.came)
    return replace(window, past=past, came=came)


def crossed(pool: Pool, random: np.random.Generator) -> Window:
    """Two windows of any sources added, or one modulated by the other."""
    one, two = pool.any(random), pool.any(random)
    a = float(random.choice([0.2, 0.35, 0.5, 0.65]))
    sign = random.choice([-1, 1])
    modulated = random.random() < 0.3
    past, came = (
        mine * (1 - a) + (a * mine * np.tanh(theirs) if modulated else sign * a * theirs)
        for mine, theirs in ((one.past, two.past), (one.came, two.came))
    )
    return Window(one.step, past, came, one.sources | two.sources)


def invented(_: Pool, random: np.random.Generator) -> Window:
    """A window of a made-up series."""
    grid = Grid(STEP)
    values = made.series(DAYS + 1, grid.day, random)
    return Window(STEP, values[: -grid.day], values[-grid.day :], frozenset())


KINDS: dict[str, Callable[[Pool, np.random.Generator], Window]] = {
    "bent": bent,
    "crossed": crossed,
    "invented": invented,
}


def lessons(windows: Iterable[Window], random: np.random.Generator) -> Iterator[tuple[frozenset[str], Lesson]]:
    """Lessons of windows with the same step and sources, which they are grouped by; some are damaged before."""
    groups: dict[tuple[int, frozenset[str]], list[Window]] = {}
    for window in windows:
        grid = Grid(window.step)
        hurt = replace(window, past=_damaged(window.past, grid, random))
        known = hurt.past[~np.isnan(hurt.past)]
        if len(known) < _LEAST_POINTS or known.max() == known.min():
            continue
        group = groups.setdefault((window.step, window.sources), [])
        group.append(hurt)
        if len(group) == _AT_ONCE:
            yield window.sources, _lesson(group, random)
            group.clear()
    for (_, sources), group in groups.items():
        if group:
            yield sources, _lesson(group, random)


def _lesson(group: Sequence[Window], random: np.random.Generator) -> Lesson:
    grid = Grid(group[0].step)
    leads = some_leads(grid, random)
    past, came = (np.stack([getattr(window, name) for window in group]) for name in ("past", "came"))
    return lesson(past, came[:, leads], grid, leads, 0.0)


def _spread(values: Values) -> float:
    return float(np.nanmean(np.abs(values - np.nanmedian(values)))) + 1e-12


def _bend(random: np.random.Generator) -> Callable[[Values, Values], tuple[Values, Values]]:
    kind = random.integers(4)
    power, gain, rate = random.choice([0.6, 1.5, 2.0]), random.choice([0.5, 2.0, 8.0]), random.choice([0.3, 0.7])

    def bend(past: Values, came: Values) -> tuple[Values, Values]:
        if kind == 0:
            return -past, -came
        if kind == 1:
            return np.sign(past) * np.abs(past) ** power, np.sign(came) * np.abs(came) ** power
        if kind == 2:
            low = np.nanmin(past)
            return np.log1p(gain * np.maximum(past - low, 0)), np.log1p(gain * np.maximum(came - low, 0))
        return np.exp(np.clip(rate * past, -4, 4)), np.exp(np.clip(rate * came, -4, 4))

    return bend


def _damaged(past: Values, grid: Grid, random: np.random.Generator) -> Values:
    """A young series, or one with an outage, at times."""
    past = past.copy()
    if random.random() < _CUT_SHARE:
        kept = np.exp(random.uniform(np.log(max(3, grid.steps(1))), np.log(12 * grid.day)))
        past[: -int(kept)] = np.nan
    if random.random() < _OUTAGE_SHARE:
        begin = random.integers(0, (DAYS - 1) * grid.day)
        past[begin : begin + random.integers(grid.steps(1), grid.day)] = np.nan
    return past
