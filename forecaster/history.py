"""What is known of a target: read once in full, then only what is new, kept on disk across restarts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cloudpulse import logs
from cloudpulse.errors import CorruptFile, StoreError
from cloudpulse.promql import Labels, MetricSource, Series
from forecaster import storage
from forecaster.config import Target
from forecaster.frame import Frame, from_series
from forecaster.model import State, label_key

OVERLAP_SECONDS = 300
"""Read again at every round: late samples, and rates whose window was not full yet."""

log = logs.get(__name__)


class History:
    """The Frame of one target, its last column the newest grid point. Not for several threads.

    Grid points are multiples of the step since the epoch, so that they are the same after a restart.
    """

    def __init__(self, target: Target, path: Path) -> None:
        self._target = target
        self._path = path
        self._kept: Frame | None = None

    @property
    def frame(self) -> Frame | None:
        """What is known; None before the first read."""
        return self._kept

    def grid_end(self, now: float) -> float:
        """The newest grid point at Unix time `now`."""
        return float(now // self._target.step * self._target.step)

    def update(self, source: MetricSource, now: float) -> Frame:
        """Read what is missing up to `now`. Raises SourceError; what was known before stays."""
        end = self.grid_end(now)
        step = float(self._target.step)
        start = end - (self._target.columns - 1) * step
        kept = self._kept
        fresh_from = start if kept is None else max(start, kept.end - max(OVERLAP_SECONDS, step) // step * step)
        if kept is None or kept.end < end or not kept.labels:
            fresh = source.range(self._target.query, fresh_from, end, step)
            self._kept = self._merged(start, end, fresh_from, fresh)
        assert self._kept is not None
        return self._kept

    def load(self) -> None:
        """Take up what an earlier process saved, if it fits the target. A corrupt file is logged and left."""
        if not self._path.exists():
            return
        try:
            stored = storage.read(self._path)
        except (CorruptFile, StoreError) as error:
            log.error("history is read anew", forecast=self._target.name, error=str(error))
            return
        facts = stored.facts
        if facts.get("query") != self._target.query or facts.get("step") != float(self._target.step):
            return
        labels = tuple(dict(pairs) for pairs in facts["labels"])
        self._kept = Frame(facts["start"], facts["step"], labels, stored.arrays["values"].astype(np.float64))

    def save(self) -> None:
        """Write what is known, as float32: 7 digits are more than any forecast has. Raises StoreError."""
        if self._kept is None:
            return
        facts = {
            "query": self._target.query,
            "start": self._kept.start,
            "step": self._kept.step,
            "labels": [dict(labels) for labels in self._kept.labels],
        }
        storage.write(self._path, State({"values": self._kept.values.astype(np.float32)}, facts))

    def _merged(self, start: float, end: float, fresh_from: float, fresh: Sequence[Series]) -> Frame:
        """Known and new samples on the grid start…end; the new ones win, and so do their gaps."""
        step = float(self._target.step)
        length = round((end - start) / step) + 1
        rows: dict[str, tuple[Labels, NDArray[np.float64]]] = {}
        if self._kept is not None:
            shift = round((start - self._kept.start) / step)
            for labels, values in zip(self._kept.labels, self._kept.values, strict=True):
                row = np.full(length, np.nan)
                past = values[max(shift, 0) :]
                at = max(-shift, 0)
                row[at : at + len(past)] = past[: length - at]
                row[round((fresh_from - start) / step) :] = np.nan
                rows[label_key(labels)] = (labels, row)
        part = from_series(fresh, start, step, length)
        for labels, values in zip(part.labels, part.values, strict=True):
            known = rows.get(label_key(labels))
            row = values if known is None else np.where(np.isnan(values), known[1], values)
            rows[label_key(labels)] = (labels, row)
        alive = {key: pair for key, pair in rows.items() if not np.isnan(pair[1]).all()}
        ordered = [alive[key] for key in sorted(alive)]
        values = np.stack([row for _, row in ordered]) if ordered else np.empty((0, length))
        return Frame(start, step, tuple(labels for labels, _ in ordered), values)
