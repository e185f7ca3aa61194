"""Live truth: every prediction waits for its time, is scored then, and what comes of it serves the next prediction.

Three things learn from each score: the figures that are shown (`accuracy`), the correction of the quantiles
(`calibration`), and the verdict on each model (`demotion`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from forecaster.accuracy import Accuracy, Due, Scores, last_known, naive
from forecaster.calibration import Calibration
from forecaster.config import Target
from forecaster.demotion import Change, Demoted, Demotion
from forecaster.forecast import Forecast
from forecaster.frame import Frame
from forecaster.model import State
from forecaster.models.robust import Array
from forecaster.rows import Rows

SLOTS = 96
"""Predictions kept waiting for their time, per horizon: longer horizons are scored at coarser intervals."""
PROBE_SECONDS = 900.0
"""A target whose horizons are all longer is scored this far ahead as well: a broken model shows within the hour."""


class _Learner(Protocol):
    """What learns from each score, in arrays by row."""

    def resize(self, rows: int) -> None: ...
    def keep(self, rows: NDArray[np.intp]) -> None: ...
    def state(self) -> State: ...
    def restore(self, state: State) -> None: ...


@dataclass
class _Waiting:
    """A prediction for one moment, by row; rows and models that came later are missing at the end. NaN: none.

    What was predicted is kept as its difference from `base`: float32 tells Unix times only two minutes apart.
    """

    time: float
    base: NDArray[np.float64]  # [rows], the newest known value when it was predicted
    issued: NDArray[np.float32]  # [rows, levels]
    raw: NDArray[np.float32]  # [rows, levels]
    medians: NDArray[np.float32]  # [rows, models]

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"base": self.base, "issued": self.issued, "raw": self.raw, "medians": self.medians}

    def keep(self, rows: NDArray[np.intp]) -> None:
        """Keep these rows only."""
        old = rows[rows < len(self.base)]
        self.base, self.issued = self.base[old], self.issued[old]
        self.raw, self.medians = self.raw[old], self.medians[old]


class Truth:
    """What is known about one target's forecasts. Not for several threads.

    Memory is bounded: at most `SLOTS` predictions per horizon wait, and series that are gone don't outnumber the
    others for long.
    """

    def __init__(self, target: Target) -> None:
        self._query = target.query
        self._levels = target.all_levels
        self._step = float(target.step)
        self._shown = len(target.horizons)
        self._leads = [float(horizon) for horizon in target.horizons]
        if min(self._leads) > max(PROBE_SECONDS, self._step):
            self._leads.append(max(PROBE_SECONDS, self._step))
        self._apart = [max(self._step, lead / SLOTS) for lead in self._leads]
        self._waiting: list[deque[_Waiting]] = [deque() for _ in self._leads]
        self._rows = Rows()
        self._base = np.empty(0)  # by row: the newest known value; NaN for a series that isn't there
        between = [max(apart, float(target.every)) for apart in self._apart]
        self._accuracy = Accuracy([b / lead for b, lead in zip(between, self._leads, strict=True)], self._levels)
        self._calibration = Calibration(self._leads, between, self._levels)
        self._demotion = Demotion(self._leads, between)
        self._parts: Mapping[str, _Learner] = {
            "accuracy": self._accuracy,
            "calibration": self._calibration,
            "demotion": self._demotion,
        }

    def observed(self, frame: Frame, keys: Sequence[str], now: float) -> list[tuple[str, Change]]:
        """Score every waiting prediction whose time `frame` reaches; a gap there is no score.

        `keys` are the `label_key`s of the frame's series. Returns the changes of verdict, each with its series' key.
        """
        rows = self._rows.enter(keys)
        for part in self._parts.values():
            part.resize(len(self._rows))
        for h, waiting in enumerate(self._waiting):
            while waiting and waiting[0].time <= frame.end + 1e-6:
                one = waiting.popleft()
                self._score(h, one, rows, frame)
        self._base = np.full(len(self._rows), np.nan)
        self._base[rows] = last_known(frame, frame.length - 1, np.arange(len(rows)))
        changes = [(self._rows.keys[change.row], change) for change in self._demotion.judge(now)]
        self._forget()
        return changes

    def calibrated(self, raw: Forecast, keys: Sequence[str]) -> NDArray[np.float64]:
        """The values of `raw`, corrected by what came so far. Its levels may be more than those that are scored."""
        return self._calibration.apply(self._rows.of(keys), raw.values, raw.levels, raw.step)

    def predicted(
        self, raw: Forecast, issued: Forecast, parts: Mapping[str, NDArray[np.floating[Any]]], keys: Sequence[str]
    ) -> None:
        """Remember what was predicted for series that the newest `observed` has seen, to be scored later.

        `raw` and `issued` have the target's levels, `parts` the medians of its models, [series, step].
        """
        rows = self._rows.of(keys)
        columns = self._demotion.columns(parts)
        for waiting, lead, apart in zip(self._waiting, self._leads, self._apart, strict=True):
            index = round(lead / self._step) - 1
            moment = issued.start + index * self._step
            if index >= issued.horizon or (waiting and moment < waiting[-1].time + apart - 1e-6):
                continue
            medians = np.full((len(rows), len(self._demotion.models)), np.nan)
            for column, said in zip(columns, parts.values(), strict=True):
                medians[:, column] = said[:, index]
            waiting.append(
                _Waiting(
                    moment,
                    self._base.copy(),
                    self._by_row(rows, issued.values[:, index]),
                    self._by_row(rows, raw.values[:, index]),
                    self._by_row(rows, medians),
                )
            )

    def scores(self, keys: Sequence[str]) -> Scores:
        """The figures of the series with these keys, in that order."""
        return self._accuracy.scores(self._rows.of(keys), self._shown)

    def demoted(self, keys: Sequence[str]) -> Demoted:
        """The models that have no say in these series, which `observed` has seen."""
        return self._demotion.demoted(self._rows.of(keys))

    def state(self) -> State:
        """Everything, to be kept across a restart."""
        arrays: dict[str, NDArray[Any]] = {}
        facts = {}
        for name, part in self._parts.items():
            state = part.state()
            arrays |= {f"{name}.{key}": array for key, array in state.arrays.items()}
            facts[name] = dict(state.facts)
        for h, waiting in enumerate(self._waiting):
            for i, one in enumerate(waiting):
                arrays |= {f"{h}.{i}.{kind}": array for kind, array in one.arrays().items()}
        times = [[one.time for one in waiting] for waiting in self._waiting]
        return State(arrays, {"about": self._about(), "keys": self._rows.keys, "times": times, "parts": facts})

    def restore(self, state: State) -> None:
        """Take up what `state` gave; of another query, step or shape it is left."""
        if state.facts.get("about") != self._about():
            return
        self._rows = Rows(state.facts["keys"])
        self._base = np.full(len(self._rows), np.nan)
        for name, part in self._parts.items():
            prefix = f"{name}."
            arrays = {key.removeprefix(prefix): a for key, a in state.arrays.items() if key.startswith(prefix)}
            part.restore(State(arrays, state.facts["parts"][name]))
        for h, times in enumerate(state.facts["times"]):
            self._waiting[h] = deque(
                _Waiting(time, *(state.arrays[f"{h}.{i}.{kind}"] for kind in ("base", "issued", "raw", "medians")))
                for i, time in enumerate(times)
            )

    def _about(self) -> dict[str, object]:
        """What figures depend on: with another of these they say nothing. Models may change, each is known by name."""
        return {
            "version": 3,
            "query": self._query,
            "step": self._step,
            "levels": list(self._levels),
            "leads": self._leads,
            "apart": self._apart,
        }

    def _score(self, h: int, one: _Waiting, rows: NDArray[np.intp], frame: Frame) -> None:
        column = round((one.time - frame.start) / self._step)
        if not 0 <= column < frame.length:
            return
        actual = frame.values[:, column]
        there = np.flatnonzero((rows < len(one.issued)) & np.isfinite(actual))
        there = there[np.isfinite(one.issued[rows[there]]).all(1)]
        at = rows[there]
        base = one.base[at]
        day_before = naive(frame, column, self._leads[h], there)
        before = last_known(frame, column - round(self._leads[h] / self._step), there)
        due = Due(
            h,
            at,
            one.issued[at],
            one.raw[at],
            one.medians[at],
            _small(actual[there] - base),
            _small(np.where(np.isnan(day_before), before, day_before) - base),
        )
        self._accuracy.add(due)
        self._calibration.add(due)
        # On a first day the last value is often hard to beat, but seasonal naive, which would step in, wouldn't say it.
        self._demotion.add(replace(due, naive=_small(day_before - base)))

    def _by_row(self, rows: NDArray[np.intp], values: Array) -> NDArray[np.float32]:
        block = np.full((len(self._rows), values.shape[1]), np.nan, np.float32)
        block[rows] = _small(values - self._base[rows, None])
        return block

    def _forget(self) -> None:
        """Drop series that are gone, where they have become many."""
        kept = self._rows.crowded()
        if kept is None:
            return
        for part in self._parts.values():
            part.keep(kept)
        for one in (one for waiting in self._waiting for one in waiting):
            one.keep(kept)
        self._base = self._base[kept]
        self._rows.keep(kept)


def _small(values: Array) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # beyond float32 it is infinite, and no score
        return values.astype(np.float32)
