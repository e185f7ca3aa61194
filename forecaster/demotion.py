"""Demotion: which models have no say in which series, because live they are worse than seasonal naive there.

Each model's median is scored whether it has a say or not, so a model comes back when it is good again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloudpulse import logs
from cloudpulse.durations import Duration
from forecaster.accuracy import Due
from forecaster.model import State, printed
from forecaster.models.ensemble import FLOOR
from forecaster.rows import padded

BROKEN = 2.5
"""Error relative to seasonal naive's above which a model is out at once, by its last predictions alone.

The errors of some 20 minutes are a handful at a step of 5 min and much alike: by chance a good model is half again as
bad. One that goes four times as bad is out within the hour. It is then out at every longer lead, too, whose own scores
come too late.
"""
WORSE = 1.1
"""The same for the long window: worse by more than its own noise."""
GOOD = 0.95
"""A model is back when both windows are below this: better, not merely no longer worse, so it doesn't flap.

Measured with the profile model over 22 days, 15 min, 1 h and 24 h ahead: its error relative to seasonal naive's went
by demotion with these numbers from 0.58, 0.63, 0.98 to 0.57, 0.62, 0.93 on 28 metrics of services and from 0.52, 0.68,
0.89 to 0.51, 0.67, 0.90 on 35 of virtual machines; where it was the better one, it was out 4 to 9% of the time.
"""
MOST = 6.0
"""An error counts as no more than so many typical errors of seasonal naive: one absurd value is not held for weeks."""
FAST_SECONDS, SLOW_SECONDS = 1200.0, 6 * 3600.0
"""The two windows at short leads (time constants); at long ones 1 and 6 leads, as overlapping errors are one error."""
_LEADS = 6
USUAL_SECONDS = 86400.0
"""Seasonal naive's error counts as no less than its usual one, over a day: in a quiet hour of a series that bursts both
errors are next to nothing, and their ratio says nothing."""
_FEWEST = 4.0
_ENOUGH = np.array([0.6, 0.4])
"""Shares of a window that must have been scored before it counts."""
_EXAMPLES = 3
"""Series that a log line names; how many there are stands beside them."""

log = logs.get(__name__)


@dataclass(frozen=True)
class Demoted:
    """Where models are out. Rows are series in the order asked for; NaN where a model has its say."""

    leads: tuple[float, ...]  # seconds, rising
    since: Mapping[str, NDArray[np.float64]]  # model -> [series, leads], Unix seconds
    ratio: Mapping[str, NDArray[np.float64]]  # model -> [series, leads]: error relative to seasonal naive when put out

    def among(self, models: Collection[str]) -> Demoted:
        """What holds for these models; one that the predictor of now hasn't got isn't shown."""
        since = {name: there for name, there in self.since.items() if name in models}
        return Demoted(self.leads, since, {name: self.ratio[name] for name in since})


NONE_DEMOTED = Demoted((), {}, {})


@dataclass(frozen=True)
class Change:
    """A model that went out or came back."""

    row: int
    model: str
    lead: float  # seconds
    back: bool
    ratio: float  # the error relative to seasonal naive that decided


class Demotion:
    """Verdicts by series (rows), lead and model, from fading sums over two windows.

    A model that is broken at one lead is out at every longer one, too.
    """

    def __init__(self, leads: list[float], apart: list[float]) -> None:
        """`leads` in seconds, each with the seconds between two of its predictions."""
        self._leads = np.array(leads)
        fast = np.maximum(FAST_SECONDS, self._leads) / apart
        slow = np.maximum(SLOW_SECONDS, _LEADS * self._leads) / apart
        usual = np.maximum(slow, USUAL_SECONDS / np.array(apart))
        self._windows = np.maximum(np.stack([fast, slow, usual], -1), _FEWEST)  # [leads, window], in scores
        self.models: list[str] = []
        self._sums = np.zeros((0, len(leads), 0, 3, 3), np.float32)  # [..., window, (weight, error, naive's error)]
        self._size = np.zeros((0, len(leads)), np.float32)  # how far the series moves, fading over a day
        self._since = np.zeros((0, len(leads), 0))
        self._ratio = np.zeros((0, len(leads), 0), np.float32)

    def resize(self, rows: int) -> None:
        """Make room for new rows, in which nothing is known."""
        self._sums, self._ratio = padded(self._sums, rows, 0.0), padded(self._ratio, rows, np.nan)
        self._since, self._size = padded(self._since, rows, np.nan), padded(self._size, rows, 0.0)

    def keep(self, rows: NDArray[np.intp]) -> None:
        """Keep these rows only."""
        self._sums, self._size = self._sums[rows], self._size[rows]
        self._since, self._ratio = self._since[rows], self._ratio[rows]

    def columns(self, models: Mapping[str, object]) -> list[int]:
        """The columns of these models; one not met before gets a new column."""
        self.models += [name for name in models if name not in self.models]
        self._sums = padded(self._sums, len(self.models), 0.0, axis=2)
        self._since = padded(self._since, len(self.models), np.nan, axis=2)
        self._ratio = padded(self._ratio, len(self.models), np.nan, axis=2)
        return [self.models.index(name) for name in models]

    def add(self, due: Due) -> None:
        """Score each model's median; `due.medians` has the first of `models`."""
        h, count = due.horizon, due.medians.shape[1]
        sums = self._sums[due.rows, h, :count]  # [n, models, window, 3]
        actual = due.actual.astype(np.float64)[:, None]
        naive = np.abs(due.naive[:, None] - actual)
        size = self._size[due.rows, h] * (1 - 1 / self._windows[h, 2])
        size = np.maximum(size, np.maximum(np.abs(actual), np.nan_to_num(naive))[:, 0])
        self._size[due.rows, h] = size
        # What float32 can't tell apart is no error.
        error = np.maximum(np.abs(due.medians - actual) - 1e-6 * size[:, None], 0.0)
        naive = np.broadcast_to(naive, error.shape)
        known = np.isfinite(error) & np.isfinite(naive)
        typical = (sums[:, :, 2, 2] + naive) / (sums[:, :, 2, 0] + 1)
        capped = np.where(typical > 0, np.minimum(error, MOST * typical), error)
        scored = np.stack([np.ones_like(error), capped, naive], -1)[:, :, None]
        faded = sums * (1 - 1 / self._windows[h])[:, None] + scored
        self._sums[due.rows, h, :count] = np.where(known[:, :, None, None], faded, sums)

    def judge(self, now: float) -> list[Change]:
        """Put out and take back as the scores say. The changes, by model and row."""
        weight = np.maximum(self._sums[..., 0], 1e-9)
        error, naive = self._sums[..., :2, 1] / weight[..., :2], self._sums[..., 2] / weight
        naive = np.maximum(naive[..., :2], naive[..., 2:])
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(naive > 0, error / naive, np.where(error > 0, np.inf, 0.0))
        enough = weight[..., :2] >= (_ENOUGH * self._windows[:, :2])[:, None]
        out = (enough & (ratio > (BROKEN, WORSE))).any(-1)
        back = (enough & (ratio < GOOD)).all(-1)
        was = ~np.isnan(self._since)
        worst = np.where(enough, ratio, 0.0).max(-1)
        out[..., [m for m, name in enumerate(self.models) if name == FLOOR]] = False
        changed = np.where(was, back, out)
        self._since = np.where(changed, np.where(was, np.nan, now), self._since)
        self._ratio = np.where(changed, np.where(was, np.nan, worst), self._ratio).astype(np.float32)
        places = np.argwhere(changed.transpose(2, 0, 1)).tolist()
        return [
            Change(row, self.models[m], float(self._leads[h]), bool(was[row, h, m]), float(worst[row, h, m]))
            for m, row, h in places
        ]

    def demoted(self, rows: NDArray[np.intp]) -> Demoted:
        """What holds for these rows, by rising lead; what is broken at one lead is out from there on."""
        order = np.argsort(self._leads)
        since, ratio = self._since[rows][:, order], self._ratio[rows][:, order].astype(np.float64)
        for h in range(1, len(order)):
            inherits = np.isnan(since[:, h]) & (ratio[:, h - 1] > BROKEN)
            since[:, h] = np.where(inherits, since[:, h - 1], since[:, h])
            ratio[:, h] = np.where(inherits, ratio[:, h - 1], ratio[:, h])
        leads = tuple(self._leads[order].tolist())
        found = [(m, name) for m, name in enumerate(self.models) if not np.isnan(since[:, :, m]).all()]
        return Demoted(leads, {name: since[:, :, m] for m, name in found}, {name: ratio[:, :, m] for m, name in found})

    def state(self) -> State:
        """Everything, to be kept across a restart."""
        arrays: dict[str, NDArray[Any]] = {"sums": self._sums, "size": self._size}
        return State({**arrays, "since": self._since, "ratio": self._ratio}, {"models": self.models})

    def restore(self, state: State) -> None:
        """Take up what `state` gave."""
        self.models = list(state.facts["models"])
        self._sums, self._since = np.array(state.arrays["sums"]), np.array(state.arrays["since"])
        self._ratio, self._size = np.array(state.arrays["ratio"]), np.array(state.arrays["size"])


def log_changes(forecast: str, changes: Sequence[tuple[str, Change]]) -> None:
    """One line for each model and direction, however many series it is; each change with its series' `label_key`."""
    groups: dict[tuple[str, bool], list[tuple[str, Change]]] = {}
    for key, change in changes:
        groups.setdefault((change.model, change.back), []).append((key, change))
    for (model, back), members in groups.items():
        examples = [
            f"{printed(key)} {Duration(change.lead)} ahead: error {change.ratio:.2g} of seasonal naive's"
            for key, change in members[:_EXAMPLES]
        ]
        say = log.info if back else log.warning
        event = "model is good again" if back else "model demoted, being worse than seasonal naive"
        say(event, forecast=forecast, model=model, series=len({key for key, _ in members}), examples=examples)
