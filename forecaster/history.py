"""What is known of a target: read once in full, then only what is new, kept on disk across restarts."""

from __future__ import annotations

from pathlib import Path

from cloudpulse.promql import Labels, MetricSource
from forecaster.blocks import COLUMNS
from forecaster.columns import Columns
from forecaster.config import Target
from forecaster.frame import Frame

OVERLAP_SECONDS = 300
"""Read again at every round: late samples, and rates whose window was not full yet."""
READ_VALUES = 4_000_000
"""Read at once, at most, where the history is long: what an interrupted first read loses, and holds in memory."""


class History:
    """The Frame of one target, its last column the newest grid point.

    Grid points are multiples of the step since the epoch, so that they are the same after a restart. Not for several
    threads, but `save` may be called by another.
    """

    def __init__(self, target: Target, folder: Path) -> None:
        self._target = target
        self._step = float(target.step)
        self._overlap = int(max(OVERLAP_SECONDS, self._step) // self._step)  # columns
        self._columns = Columns(self._step, folder, {"query": target.query, "step": self._step})
        self._frame: Frame | None = None

    @property
    def frame(self) -> Frame | None:
        """What the last update gave; None before the first."""
        return self._frame

    def update(self, source: MetricSource, now: float) -> Frame:
        """Read what is missing up to `now`. Raises SourceError; what was read before stays, also in this call."""
        end = int(now // self._step) + 1
        start = end - self._target.columns
        kept = self._frame
        overlap = self._overlap * self._step
        if kept is not None and kept.labels and 0 <= kept.end - (end - 1) * self._step <= overlap:
            return kept
        self._columns.forget_before(start)
        # Set back further, the clock was wrong then: what was read for times to come is no history.
        if self._columns.end <= start or self._columns.end > end + self._overlap:
            self._columns.start_anew(end)
        if self._columns.end < end or not self._columns.series:
            self._read_newer(source, start, end)
        self._read_older(source, start)
        self._frame = kept = None  # before the next is made: two are much memory
        self._frame = self._columns.frame(start, end)
        return self._frame

    def of(self, labels: Labels, last: float, length: int) -> Frame:
        """One series in the `length` columns up to Unix time `last`, out of what is in memory anyway."""
        end = round(last / self._step) + 1
        values = self._columns.of(labels, end - length, end)
        return Frame((end - length) * self._step, self._step, (labels,), values[None])

    def load(self) -> None:
        """Take up what an earlier process saved, if it fits the target. What is corrupt is logged and read anew."""
        self._columns.load()

    def save(self) -> None:
        """Write what changed since the last time. Raises StoreError."""
        self._columns.save()

    def _read_newer(self, source: MetricSource, start: int, end: int) -> None:
        column = max(start, self._columns.end - 1 - self._overlap)
        while self._columns.end > self._columns.first and column < end:
            stop = min(end, column + self._blocks_at_once() * COLUMNS)
            self._read(source, column, stop)
            column = stop

    def _read_older(self, source: MetricSource, start: int) -> None:
        """The newest first: it is what forecasts need most, and tells how many series there are."""
        while (stop := self._columns.first) > start:
            block = (stop - 1) // COLUMNS - self._blocks_at_once() + 1
            self._read(source, max(start, block * COLUMNS), stop)

    def _blocks_at_once(self) -> int:
        if self._columns.first == self._columns.end:
            return 1
        return max(1, READ_VALUES // COLUMNS // max(1, self._columns.series))

    def _read(self, source: MetricSource, first: int, end: int) -> None:
        """Columns from `first` up to, not including, `end`."""
        answer = source.range(self._target.query, first * self._step, (end - 1) * self._step, self._step)
        self._columns.put(first, end, answer)
