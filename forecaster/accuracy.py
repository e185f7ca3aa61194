"""Live truth: every prediction is scored when its time comes, against seasonal naive made at the same moment.

MASE after Hyndman & Koehler (2006), with the error of seasonal naive over the same times as its scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecaster.config import Target
from forecaster.forecast import Forecast
from forecaster.frame import Frame
from forecaster.model import State, label_key

DAY_SECONDS = 86400.0
WINDOW = 288
"""Predictions that a figure looks back on: older ones fade with this time constant."""
SLOTS = 96
"""Predictions kept waiting for their time, per horizon: longer horizons are scored at coarser intervals."""
ENOUGH = 5
"""Scored predictions below which there is no figure yet."""


@dataclass(frozen=True)
class Scores:
    """Figures by series (rows) and horizon; NaN where too little has been scored."""

    mase: NDArray[np.float64]  # [series, horizons]
    bias: NDArray[np.float64]  # [series, horizons]; positive: forecasts too high
    coverage: NDArray[np.float64]  # [series, horizons, levels]


@dataclass
class _Waiting:
    """A prediction for one moment."""

    time: float
    values: dict[str, NDArray[np.float64]]  # by series: one value a level


class Accuracy:
    """Scores of one target. Not for several threads.

    Per series and horizon it keeps fading sums: [weight, |error|, |error of seasonal naive|, error, hits per level].
    """

    def __init__(self, target: Target) -> None:
        self._levels = target.all_levels
        self._median = self._levels.index(0.5)
        self._horizons = [float(horizon) for horizon in target.horizons]
        self._step = float(target.step)
        self._waiting: list[list[_Waiting]] = [[] for _ in self._horizons]
        self._sums: dict[str, NDArray[np.float64]] = {}

    def predicted(self, forecast: Forecast) -> None:
        """Remember what was predicted, to be scored later."""
        keys = [label_key(labels) for labels in forecast.labels]
        for waiting, horizon in zip(self._waiting, self._horizons, strict=True):
            index = round(horizon / self._step) - 1
            moment = forecast.start + index * self._step
            apart = max(self._step, horizon / SLOTS)
            if index >= forecast.horizon or (waiting and moment < waiting[-1].time + apart):
                continue
            values = forecast.values[:, index]
            waiting.append(_Waiting(moment, dict(zip(keys, values, strict=True))))

    def observed(self, frame: Frame) -> None:
        """Score every waiting prediction whose time `frame` reaches; a gap there is no score."""
        rows = {label_key(labels): i for i, labels in enumerate(frame.labels)}
        for h, horizon in enumerate(self._horizons):
            due = [one for one in self._waiting[h] if one.time <= frame.end]
            self._waiting[h] = [one for one in self._waiting[h] if one.time > frame.end]
            for one in due:
                column = round((one.time - frame.start) / self._step)
                if 0 <= column < frame.length:
                    self._score(h, one, frame.values[:, column], _naive(frame, column, horizon), rows)

    def scores(self, keys: Sequence[str]) -> Scores:
        """The figures of the series with these keys (`label_key`), in that order."""
        empty = np.zeros((len(self._horizons), 4 + len(self._levels)))
        sums = np.stack([self._sums.get(key, empty) for key in keys]) if keys else empty[None][:0]
        weight, absolute, naive, signed = (sums[:, :, i] for i in range(4))
        with np.errstate(divide="ignore", invalid="ignore"):
            known = (weight >= ENOUGH) & (naive > 0)
            mase = np.where(known, absolute / naive, np.nan)
            bias = np.where(known, signed / naive, np.nan)
            coverage = np.where((weight >= ENOUGH)[:, :, None], sums[:, :, 4:] / weight[:, :, None], np.nan)
        return Scores(mase, bias, coverage)

    def state(self) -> State:
        """The figures and the waiting predictions, to be kept across a restart."""
        keys = list(self._sums)
        arrays = {"sums": np.stack([self._sums[key] for key in keys])} if keys else {}
        waiting: list[list[list[object]]] = []
        for h, predictions in enumerate(self._waiting):
            waiting.append([[one.time, list(one.values)] for one in predictions])
            blocks = [np.stack(list(one.values.values())) for one in predictions if one.values]
            arrays[f"waiting{h}"] = np.concatenate(blocks) if blocks else np.empty((0, len(self._levels)))
        about = {"levels": list(self._levels), "horizons": self._horizons, "step": self._step}
        return State(arrays, {"about": about, "keys": keys, "waiting": waiting})

    def restore(self, state: State) -> None:
        """Take up what `state` gave; of another target's shape it is left."""
        about = {"levels": list(self._levels), "horizons": self._horizons, "step": self._step}
        if state.facts.get("about") != about:
            return
        self._sums = {key: state.arrays["sums"][i] for i, key in enumerate(state.facts["keys"])}
        for h, predictions in enumerate(state.facts["waiting"]):
            block, used = state.arrays[f"waiting{h}"], 0
            self._waiting[h] = []
            for time, keys in predictions:
                values = dict(zip(keys, block[used : used + len(keys)], strict=True))
                used += len(keys)
                self._waiting[h].append(_Waiting(time, values))

    def _score(
        self,
        h: int,
        one: _Waiting,
        actual: NDArray[np.float64],
        naive: NDArray[np.float64],
        rows: dict[str, int],
    ) -> None:
        for key, predicted in one.values.items():
            row = rows.get(key)
            if row is None or np.isnan(actual[row]) or np.isnan(naive[row]) or np.isnan(predicted).any():
                continue
            sums = self._sums.setdefault(key, np.zeros((len(self._horizons), 4 + len(self._levels))))
            error = predicted[self._median] - actual[row]
            sums[h] *= 1 - 1 / WINDOW
            sums[h, :4] += (1, abs(error), abs(naive[row] - actual[row]), error)
            sums[h, 4:] += actual[row] <= predicted


def _naive(frame: Frame, column: int, horizon: float) -> NDArray[np.float64]:
    """What seasonal naive said for `column` when it was `horizon` seconds ahead: a whole number of days before.

    With less than that in the frame, the last value before the prediction.
    """
    days = max(1.0, np.ceil(horizon / DAY_SECONDS))
    back = column - round(days * DAY_SECONDS / frame.step)
    if back < 0:
        back = max(0, column - round(horizon / frame.step))
    return np.asarray(frame.values[:, back], np.float64)
