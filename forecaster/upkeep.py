"""Upkeep of a target's models: what is due is trained in parts beside the rounds, and in use as soon as it ends.

A finished part is stored at once, so that a restart costs only the parts under way. When every series has had its
turn, the parts make a whole version.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Future
from dataclasses import dataclass, replace

import numpy as np

from cloudpulse import logs, trace
from cloudpulse.clock import Clock
from cloudpulse.errors import WorkersUnavailable
from cloudpulse.trace import Trace
from forecaster.config import Target
from forecaster.frame import Frame
from forecaster.groups import MOST, Due, Keys, due, grouped
from forecaster.lineup import Lineup
from forecaster.meters import Meters
from forecaster.model import Predictor, State, label_key
from forecaster.registry import About
from forecaster.training import Trainer

NEWCOMERS_SECONDS = 600.0
"""New series are trained in company, so often; a full part of them at once."""
_TRIES = 2
"""A part whose worker died is tried again once: another part may have killed it."""

log = logs.get(__name__)


@dataclass(frozen=True, eq=False)
class _Job:
    """A part that is trained now."""

    series: Frame  # without columns
    data_start: float  # Unix seconds
    data_end: float  # Unix seconds
    began: float  # Unix seconds
    tries: int
    future: Future[State]
    place: Trace | None  # the round that handed it out

    @property
    def keys(self) -> Keys:
        return tuple(label_key(labels) for labels in self.series.labels)


class Upkeep:
    """See the module. `data` gives the history of some series, those of them that there are. For one thread."""

    def __init__(
        self,
        target: Target,
        lineup: Lineup,
        trainer: Trainer,
        meters: Meters,
        clock: Clock,
        data: Callable[[Collection[str]], Frame],
    ) -> None:
        self._target = target
        self._lineup = lineup
        self._trainer = trainer
        self._meters = meters
        self._clock = clock
        self._data = data
        self._served: frozenset[str] = frozenset()
        self._seen: dict[str, float] = {}  # series -> Unix time at which it was last served
        self._groups: tuple[Keys, ...] = ()
        self._began: dict[str, float] = {}  # series -> Unix time from which the age of its newest training counts
        self._settled: set[str] = set()  # trained or given up since the newest whole version
        self._jobs: list[_Job] = []
        self._again: list[Keys] = []
        self._newcomers_at = -math.inf
        self._waiting = 0

    @property
    def active(self) -> bool:
        """Whether a training is under way or waits."""
        return bool(self._jobs or self._waiting)

    @property
    def busy(self) -> bool:
        """Whether a training is under way."""
        return bool(self._jobs)

    def load(self) -> None:
        """Go on from what is on disk: only series whose model is missing or old are due."""
        self._began = self._lineup.load()
        self._settled = self._lineup.trained_since
        # How long those have been gone that aren't there now is not known.
        self._seen = dict.fromkeys(self._lineup.trained, self._clock()) | self._seen
        self._jobs, self._again = [], []

    def serve(self, keys: Sequence[str]) -> None:
        """Once a round: these are the series that there are. A rollback meanwhile is taken up."""
        self._seen |= dict.fromkeys(keys, self._clock())
        if self._served != set(keys):
            self._served = frozenset(keys)
            self._groups = grouped(keys)
        if self._lineup.rolled_back():
            log.info("models were rolled back", forecast=self._target.name)
            self.load()
        if self._settled and self._every_group_settled():
            self._finish()  # what could not be stored when its last part was trained

    def collect(self) -> None:
        """Take up the trainings that have ended."""
        done = [job for job in self._jobs if job.future.done()]
        self._jobs = [job for job in self._jobs if job not in done]
        for job in done:
            try:
                state = job.future.result()
                predictor = self._lineup.restore(state)
            except (BrokenExecutor, CancelledError) as error:
                self._told(job, type(error).__name__)
                self._lost(job, error)
            except Exception as error:  # noqa: BLE001  any failure of a model: the one before goes on
                self._told(job, type(error).__name__)
                self._give_up(job, error)
            else:
                self._told(job, "")
                self._take(job, state, predictor)
        if done and self._every_group_settled():
            self._finish()

    def hand_out(self) -> None:
        """Give what is due to free workers, no more than they can begin with at once."""
        now = self._clock()
        waiting = self._due(now)
        newcomers = [keys for keys in waiting.newcomers if len(keys) == MOST or now >= self._newcomers_at]
        left = waiting.series
        if self._again or any(job.tries > 1 for job in self._jobs):
            self._try_again(now)
        else:
            for keys in (*newcomers, *waiting.groups):
                if not self._submit(keys, 1, now):
                    break
                left -= len(keys)
                if keys in newcomers:
                    self._newcomers_at = now + NEWCOMERS_SECONDS
        self._waiting = left + sum(map(len, self._again))
        self._meters.backlog(self._target.name, self._waiting)

    def hold_back(self) -> None:
        """Hand out nothing: rounds take too long beside training."""
        if self._due(self._clock()).series or self._again:
            self._meters.training_shed(self._target.name)

    def _finish(self) -> None:
        """A series that was there within an interval keeps its models: an outage of its exporter is not its end."""
        gone = self._clock() - self._target.train_every
        self._seen = {key: seen for key, seen in self._seen.items() if seen >= gone}
        if not self._lineup.finish(self._seen.keys()):
            return
        self._settled = set()
        self._began = {key: began for key, began in self._began.items() if key in self._seen}

    def _every_group_settled(self) -> bool:
        """Newcomers that wait or are being trained don't count: there may always be some. Nor is nothing all."""
        known = self._settled | self._lineup.trained
        groups = [[key for key in group if key in known] for group in self._groups]
        return bool(groups) and all(group and self._settled.issuperset(group) for group in groups)

    def _due(self, now: float) -> Due:
        return due(self._groups, self._began, now, self._target.train_every)

    def _try_again(self, now: float) -> None:
        """One part whose worker died, with no other beside it: then it is known which of them kills."""
        there = (tuple(key for key in keys if key in self._served) for keys in self._again)
        self._again = [keys for keys in there if keys]
        if self._again and not self._jobs and self._submit(self._again[0], _TRIES, now):
            del self._again[0]

    def _submit(self, keys: Keys, tries: int, now: float) -> bool:
        """Whether a worker took it. Sent is a copy of these rows, no more."""
        frames: list[Frame] = []

        def history() -> Frame:
            frames.append(self._data(keys))
            return frames[0]

        try:
            future = self._trainer.submit(history, self._target.models, self._target.steps, self._target.calendar)
        except WorkersUnavailable as error:
            self._meters.error(self._target.name, "workers_unavailable")
            log.error("nothing is trained for now", forecast=self._target.name, error=str(error))
            return False
        if future is None:
            return False
        (frame,) = frames
        self._began |= dict.fromkeys(keys, now)
        series = replace(frame, values=np.empty((len(frame.labels), 0)))
        self._jobs.append(_Job(series, frame.start, frame.end, now, tries, future, trace.current()))
        return True

    def _told(self, job: _Job, why: str) -> None:
        about: dict[str, str | float] = {"cloudpulse__forecast": self._target.name, "cloudpulse__series": len(job.keys)}
        trace.past("train part", job.place, job.began, why, **about)

    def _take(self, job: _Job, state: State, predictor: Predictor) -> None:
        seconds = self._clock() - job.began
        self._meters.trained(self._target.name, seconds)
        if self._waiting:
            log.info("part trained", forecast=self._target.name, series=len(job.keys), series_waiting=self._waiting)
        shares = {name: float(share.mean()) for name, share in predictor.weights(job.series).items()}
        about = About(job.began, job.data_start, job.data_end, len(job.keys), seconds, shares)
        self._lineup.take(job.keys, predictor, state, about)
        self._settled |= set(job.keys)

    def _lost(self, job: _Job, error: BaseException) -> None:
        if job.tries < _TRIES:
            self._meters.error(self._target.name, "worker_died")
            log.error("a worker died, its part is trained again", forecast=self._target.name, error=repr(error))
            self._again.append(job.keys)
        else:
            self._give_up(job, error)

    def _give_up(self, job: _Job, error: BaseException) -> None:
        """Not before another interval: what fails on this data fails again at once."""
        self._meters.error(self._target.name, "train")
        log.error("training failed, the models before go on", forecast=self._target.name, error=repr(error))
        self._settled |= set(job.keys)
