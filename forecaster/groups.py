"""Which series are trained together, and when: decided from their labels and the age of their models alone.

So nothing is lost in a restart, and series that come and go move no other from its group.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from forecaster.shard import place

MOST = 200
"""Series in a part, at most: enough to pool over, few enough to send to a worker and to lose."""
_MEAN = 160
"""Groups are doubled when they would hold more than this on average; their sizes scatter by about 13."""

Keys = tuple[str, ...]
"""Some series, each as `label_key` gives it."""


@dataclass(frozen=True)
class Due:
    """What is to be trained now, the most urgent first."""

    groups: tuple[Keys, ...]  # whole groups
    newcomers: tuple[Keys, ...]  # series without a model whose group has one: parts of their own, for now

    @property
    def series(self) -> int:
        """How many series wait."""
        return sum(len(keys) for keys in (*self.groups, *self.newcomers))


def grouped(keys: Iterable[str]) -> tuple[Keys, ...]:
    """Groups by the leading bits of `place`, in its order.

    A series stays in its group until groups are halved or joined.
    """
    ordered = sorted((place(key), key) for key in keys)
    bits = 0
    while len(ordered) > _MEAN << bits:
        bits += 1
    groups: dict[int, list[str]] = {}
    for number, key in ordered:
        groups.setdefault(number >> (64 - bits), []).append(key)
    return tuple(part for group in groups.values() for part in _cut(group))


def due(groups: tuple[Keys, ...], began: Mapping[str, float], now: float, every: float) -> Due:
    """What to train at Unix time `now`; `began` says when the newest training of each series began.

    `groups` are as `grouped` gives them. Due are those without a model, and those whose models are older than `every`
    seconds. Beyond that the oldest group is due each `every` / groups since the newest: so trainings spread over the
    interval by themselves.
    """
    untrained: list[Keys] = []
    ages: list[tuple[float, Keys]] = []
    for group in groups:
        known = [began[key] for key in group if key in began]
        if known:
            ages.append((min(known), group))
        else:
            untrained.append(group)
    ages.sort()
    old = [group for age, group in ages if age <= now - every]
    if ages and not old and now >= ages[-1][0] + every / len(groups):
        old = [ages[0][1]]
    first = (*untrained, *old)
    whole = set(map(id, first))
    # As groups are in the order of `place`, and series within them, so are these.
    newcomers = [key for group in groups if id(group) not in whole for key in group if key not in began]
    return Due(first, _cut(newcomers))


def _cut(keys: list[str]) -> tuple[Keys, ...]:
    return tuple(tuple(keys[first : first + MOST]) for first in range(0, len(keys), MOST))
