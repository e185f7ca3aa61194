"""The data's way, once per round and target: read, score, predict, store; and train beside it.

Start reading here: everything else in this package serves one of these steps.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cloudpulse import logs, names
from cloudpulse.clock import Clock
from cloudpulse.errors import AnswerUnusable, CloudPulseError, SourceUnavailable, StoreError
from cloudpulse.promql import MetricSource, Sample, Series
from forecaster import fallback, storage
from forecaster.background import Background, background
from forecaster.config import Target
from forecaster.counters import look_like_counters
from forecaster.demotion import Demoted, log_changes
from forecaster.forecast import Forecast
from forecaster.frame import Frame
from forecaster.history import History
from forecaster.lineup import Lineup
from forecaster.meters import Meters
from forecaster.naming import named
from forecaster.parted import PartedPredictor
from forecaster.registry import Registry
from forecaster.shard import Shard
from forecaster.store import MAX_AGE_SECONDS, ForecastStore, Issue, at
from forecaster.thresholds import threshold_probability
from forecaster.training import Trainer
from forecaster.truth import Truth
from forecaster.upkeep import Upkeep

OWN_LABELS = frozenset(names.FORECAST_VALUE.labels) | {"threshold", "model", "matchers"}
MIN_POINTS = 3
"""Fewer known points than this are nothing to forecast from."""
SAVE_SECONDS = 600.0
"""History and accuracy are saved this often; a crash costs at most this much re-reading."""

log = logs.get(__name__)


class Pipeline:
    """One target's way. For one thread, but for `close` and `save_history`, which any may call."""

    def __init__(
        self,
        target: Target,
        source: MetricSource,
        store: ForecastStore,
        trainer: Trainer,
        meters: Meters,
        clock: Clock,
        data_dir: Path,
        max_series: int,
        shard: Shard = Shard(),  # noqa: B008  immutable
    ) -> None:
        self.target = target
        self._closed = threading.Event()
        self._publishing = threading.Lock()
        self._source = _Open(shard.only(source), self._closed)
        self._sharded = shard.count > 1
        self._store = store
        self._meters = meters
        self._clock = clock
        self._max_series = max_series
        # A folder for each shard: another shard's would lack the past of the series that are new to us.
        self._history_path = data_dir / "history" / f"{target.name}{shard.suffix}"
        self._history = History(target, self._history_path)
        self._accuracy_path = data_dir / "accuracy" / f"{target.name}{storage.SUFFIX}"
        self._truth = Truth(target)
        self._lineup = Lineup(target, Registry(data_dir / "models" / target.name), meters, clock)
        self._upkeep = Upkeep(target, self._lineup, trainer, meters, clock, self._history_of)
        self._training_held = False
        self._last: Forecast | None = None
        self._last_keys: Sequence[str] = ()
        self._last_expected = np.empty((0, 0))  # what was expected of the column that `_last` was made of
        self._named = named(())
        self._rows: dict[str, int] = {}  # key -> row in the history, of the series that the last round could forecast
        self._failure = ""
        self._saved_at = -math.inf
        self._warned: set[str] = set()

    @property
    def training(self) -> bool:
        """Whether a training is under way or waits: then `train` wants to be called between rounds."""
        return self._upkeep.active

    def load(self) -> None:
        """Take up history, accuracy and models that an earlier process kept; what can't be read starts anew."""
        if not self._loaded("history", self._history.load):
            self._history = History(self.target, self._history_path)
        if not self._loaded("accuracy", self._load_accuracy):
            self._truth = Truth(self.target)
        self._loaded("models", self._upkeep.load)

    def close(self) -> None:
        """Once this returns, nothing more is published; a round under way ends with its query and hands out nothing.

        The target may then be dropped from the store, or have another pipeline.
        """
        with self._publishing:
            self._closed.set()

    def round(self) -> None:
        """Read, score, predict, store. Raises SourceError (nothing changed); everything else is dealt with here."""
        now = self._clock()
        beside_training = self._upkeep.busy
        with self._meters.query_duration(self.target.name):
            frame = self._history.update(self._source, now)
        if self._closed.is_set():
            return
        usable, keys = self._usable(frame, now)  # first: what is trained between rounds goes by its rows
        self._upkeep.collect()
        self._upkeep.serve(keys)
        self._publish(usable, keys, now)
        self._training_held = beside_training and self._clock() - now > self.target.every
        if self._closed.is_set():
            return
        if self._training_held:
            self._upkeep.hold_back()
        else:
            self._upkeep.hand_out()
        if not 0 <= now - self._saved_at < SAVE_SECONDS:
            self.save()

    def train(self) -> bool:
        """Between rounds: take up trainings that ended, hand out what is due; whether that is worth another round."""
        version = self._lineup.version
        self._upkeep.collect()
        if not (self._training_held or self._closed.is_set()):
            self._upkeep.hand_out()
        return self._lineup.version != version

    def save(self) -> None:
        """Keep history and accuracy for the next process; a full disk is logged and counted, and work goes on."""
        self._saved_at = self._clock()
        try:
            self._history.save()
            storage.write(self._accuracy_path, self._truth.state())
            if mase := self._live_mase():
                self._lineup.note(mase)
        except (StoreError, OSError) as error:
            self._meters.error(self.target.name, "store")
            log.error("history not saved", forecast=self.target.name, error=str(error))

    def save_history(self) -> None:
        """Of what `save` keeps the part that may be saved while a round goes on. Raises StoreError."""
        self._history.save()

    def _loaded(self, what: str, load: Callable[[], None]) -> bool:
        try:
            load()
        except Exception as error:  # noqa: BLE001  whatever a file holds, forecasts go on
            self._meters.error(self.target.name, "store")
            log.error("can't be taken up and starts anew", what=what, forecast=self.target.name, error=repr(error))
            return False
        return True

    def _load_accuracy(self) -> None:
        if self._accuracy_path.exists():
            self._truth.restore(storage.read(self._accuracy_path))

    def _usable(self, frame: Frame, now: float) -> tuple[Frame, Sequence[str]]:
        """The series that can be forecast and their keys; the others are counted by reason."""
        known = ~np.isnan(frame.values)
        newest = frame.length - 1 - known[:, ::-1].argmax(axis=1)
        gone = now - (frame.start + newest * frame.step) > max(MAX_AGE_SECONDS, 2 * frame.step)
        short = ~gone & (known.sum(axis=1) < MIN_POINTS)
        good = np.flatnonzero(~gone & ~short)
        rows = good[: self._max_series]
        left_out = len(good) - len(rows)
        skipped = {"source_gone": int(gone.sum()), "too_short": int(short.sum()), "max_series": left_out}
        self._meters.skipped(self.target.name, skipped)
        if self._named.answered != frame.labels:
            self._named = named(frame.labels)
        chosen = self._named.at(rows)
        self._rows = dict(zip(chosen.keys, rows.tolist(), strict=True))
        # A copy of a large frame is spared where nothing is left out.
        values = frame.values if len(rows) == len(frame.labels) else frame.values[rows]
        self._check_labels(frame, chosen.keys)
        if left_out:
            self._warn(
                "max_series",
                f"{left_out} series are left out: forecaster.max_series is {self._max_series}; "
                "aggregate in the query or raise it",
            )
        return Frame(frame.start, frame.step, chosen.own, values), chosen.keys

    def _check_labels(self, frame: Frame, usable: Sequence[str]) -> None:
        if not frame.labels and not self._sharded:
            raise AnswerUnusable(f"the query answers no series: try it in Prometheus (query: {self.target.query})")
        for labels in frame.labels:
            if clash := OWN_LABELS & labels.keys():
                raise AnswerUnusable(
                    f"the query's series have the label {sorted(clash)[0]}, which is CloudPulse's own: rename it with "
                    f"label_replace, or aggregate it away (query: {self.target.query})"
                )
        if len(set(usable)) < len(usable):
            raise AnswerUnusable(
                f"the query's series differ in their metric name only: ask for one metric, or aggregate "
                f"(query: {self.target.query})"
            )
        if raw := next((x["__name__"] for x in frame.labels if x.get("__name__", "").endswith("_total")), None):
            self._warn("counter", f"{raw} is a counter fed raw, which only ever rises: use rate({raw}[5m])")

    def _warn_of_counters(self, frame: Frame) -> None:
        rows = np.flatnonzero(look_like_counters(frame.values))
        if len(rows):
            pairs = ", ".join(f'{name}="{value}"' for name, value in frame.labels[rows[0]].items())
            self._warn(
                "counter",
                f"{len(rows)} series, such as {{{pairs}}}, only rise but for resets, as raw counters do: "
                f"ask for their rate(...[5m]) (query: {self.target.query})",
            )

    def _warn(self, kind: str, message: str) -> None:
        """Log a warning once, not every round."""
        if kind not in self._warned:
            self._warned.add(kind)
            log.warning(message, forecast=self.target.name)

    def _publish(self, usable: Frame, keys: Sequence[str], now: float) -> None:
        """Predict and store, where there is something new; with nothing to forecast the target is absent.

        A shard that holds no series is well: it has a forecast of none.
        """
        if not usable.labels and not self._sharded:
            self._last = None
            self._store.drop(self.target.name)
        elif self._last is not None and self._says_all_of(self._last, usable) and self._same_version():
            with self._publishing:
                if not self._closed.is_set():
                    self._store.refresh(self.target.name, now)
        else:
            issue = self._predict(usable, keys, now)
            with self._publishing:
                if not self._closed.is_set():
                    self._store.put(issue)

    @staticmethod
    def _says_all_of(last: Forecast, usable: Frame) -> bool:
        """Whether `last` was made of these series up to this column."""
        return round((last.start - usable.end) / usable.step) == 1 and last.labels == usable.labels

    def _predict(self, frame: Frame, keys: Sequence[str], now: float) -> Issue:
        log_changes(self.target.name, self._truth.observed(frame, keys, now))
        demoted = self._truth.demoted(keys)
        with self._meters.predict_duration(self.target.name):
            predictor = self._lineup.predictor(frame)
            spoken = self._speak(predictor, frame, keys, demoted)
        raw = spoken.forecast
        whole = _kept(replace(raw, values=self._truth.calibrated(raw, keys), parts={}), frame, self.target)
        forecast = whole.at(self.target.all_levels)
        self._truth.predicted(raw.at(self.target.all_levels), forecast, spoken.parts, keys)
        expected = self._expected(frame, forecast, keys)
        issue = Issue(
            target=self.target,
            forecast=forecast,
            issued_at=now,
            expected_now=expected,
            observed=frame.values[:, -1],
            scores=self._truth.scores(keys),
            weights=spoken.weights,
            version=predictor.version,
            trained_at=predictor.trained_at,
            chances={
                threshold.label: threshold_probability(whole, frame, threshold, self.target.horizons)
                for threshold in self.target.crossings
            },
            demoted=demoted.among(spoken.parts),
            background=self._background(frame, predictor),
        )
        if self._last is None:
            log.info("first forecast", forecast=self.target.name, series=len(forecast.labels))
        self._last, self._last_keys, self._last_expected = forecast, keys, expected
        return issue

    def _speak(
        self, predictor: PartedPredictor, frame: Frame, keys: Sequence[str], demoted: Demoted
    ) -> fallback.Spoken:
        """What the models say; where they fail altogether, seasonal naive for this round."""
        horizon, levels = self.target.steps, self.target.predicted_levels
        try:
            spoken = fallback.speak(predictor, frame, keys, horizon, levels, demoted)
        except Exception as error:
            self._meters.error(self.target.name, "predict")
            if repr(error) != self._failure:
                log.exception("models failed, seasonal naive forecasts instead", forecast=self.target.name)
            self._failure = repr(error)
            return fallback.floor_alone(predictor.floor, frame, horizon, levels)
        if self._failure:
            log.info("models work again", forecast=self.target.name)
        self._failure = ""
        return spoken

    def _expected(self, frame: Frame, forecast: Forecast, keys: Sequence[str]) -> NDArray[np.float64]:
        """What was said about the newest column before it was known."""
        if self._last is None:
            return np.full((len(forecast.labels), len(forecast.levels)), np.nan)
        position = (frame.end - self._last.start) / self._last.step
        # With models just trained a column is predicted from a second time: what was said with it known doesn't count.
        values = self._last_expected if round(position) == -1 else at(self._last.values, position)
        if keys == self._last_keys:
            return values
        row = {key: i for i, key in enumerate(self._last_keys)}
        rows = np.array([row.get(key, len(values)) for key in keys], np.intp)
        return np.concatenate([values, np.full((1, values.shape[1]), np.nan)])[rows]

    def _background(self, frame: Frame, predictor: PartedPredictor) -> Background:
        answered = self._named.at(np.array(list(self._rows.values()), np.intp)).answered
        return background(frame, answered, self.target.columns, self.target.steps, self._history, predictor)

    def _same_version(self) -> bool:
        """Whether the last forecast came of the models that are in use now."""
        issue = self._store.get(self.target.name)
        return issue is not None and issue.version == self._lineup.version

    def _history_of(self, keys: Collection[str]) -> Frame:
        """What is known of some series, as `label_key` gives them without their metric name, to be trained on.

        Only of those that the last round could forecast: after a change of metric name the old series has the same key.
        """
        frame = self._history.frame
        assert frame is not None
        rows = np.array(sorted(self._rows[key] for key in keys if key in self._rows), np.intp)
        found = Frame(frame.start, frame.step, self._named.at(rows).own, frame.values[rows])
        self._warn_of_counters(found)
        return found

    def _live_mase(self) -> dict[str, float]:
        """Median over the series, by horizon, where anything is known."""
        issue = self._store.get(self.target.name)
        if issue is None:
            return {}
        columns = zip(self.target.horizons, issue.scores.mase.T, strict=True)
        return {str(horizon): float(np.nanmedian(mase)) for horizon, mase in columns if not np.isnan(mase).all()}


@dataclass(frozen=True)
class _Open:
    """A source that is asked nothing more once `closed` is set: a long first read ends with the query under way."""

    source: MetricSource
    closed: threading.Event

    def instant(self, query: str, at: float | None = None) -> list[Sample]:
        self._check()
        return self.source.instant(query, at)

    def range(self, query: str, start: float, end: float, step: float) -> list[Series]:
        self._check()
        return self.source.range(query, start, end, step)

    def _check(self) -> None:
        if self.closed.is_set():
            raise SourceUnavailable("this forecast is stopping")


def reason(error: CloudPulseError) -> str:
    """The `reason` label of an error: `SourceUnavailable` as `source_unavailable`."""
    name = type(error).__name__
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def _kept(forecast: Forecast, frame: Frame, target: Target) -> Forecast:
    """Within the bounds of the target, and not below 0 for a series that never was."""
    low, high = target.bounds.min, target.bounds.max
    never_below = np.fmin.reduce(frame.values, axis=1, initial=np.inf) >= 0
    floor = np.maximum(np.where(never_below, 0.0, -np.inf), -np.inf if low is None else low)
    values = np.clip(forecast.values, floor[:, None, None], np.inf if high is None else high)
    return replace(forecast, values=values)
