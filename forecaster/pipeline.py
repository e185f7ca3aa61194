"""The data's way, once per round and target: read, score, predict, store; and train beside it.

Start reading here: everything else in this package serves one of these steps.
"""

from __future__ import annotations

import math
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cloudpulse import logs, names
from cloudpulse.clock import Clock
from cloudpulse.errors import AnswerUnusable, CloudPulseError, CorruptFile, StoreError
from cloudpulse.promql import MetricSource
from forecaster import fallback, storage
from forecaster.config import Target
from forecaster.demotion import Demoted, log_changes
from forecaster.forecast import Forecast
from forecaster.frame import Frame
from forecaster.history import History
from forecaster.meters import Meters
from forecaster.model import Predictor, State, label_key
from forecaster.models import build
from forecaster.registry import About, Registry
from forecaster.store import MAX_AGE_SECONDS, ForecastStore, Issue, at
from forecaster.thresholds import threshold_probability
from forecaster.training import Trainer
from forecaster.truth import Truth

OWN_LABELS = frozenset(names.FORECAST_VALUE.labels) | {"threshold", "model"}
FLOOR = ("seasonal_naive",)
"""The model that forecasts until the first training ends, and that every other must beat."""
MIN_POINTS = 3
"""Fewer known points than this are nothing to forecast from."""
SAVE_SECONDS = 600.0
"""History and accuracy are saved this often; a crash costs at most this much re-reading."""

log = logs.get(__name__)


@dataclass(frozen=True)
class _Trained:
    """A Predictor and where it came from."""

    predictor: Predictor
    version: int  # 0: the floor, fitted on the spot until the first training ends
    trained_at: float  # Unix seconds; NaN for the floor


@dataclass(frozen=True)
class _Training:
    """A training under way."""

    future: Future[State]
    about: About


class Pipeline:
    """One target's way. `round` and `close` are called by one thread."""

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
    ) -> None:
        self.target = target
        self._source = source
        self._store = store
        self._trainer = trainer
        self._meters = meters
        self._clock = clock
        self._max_series = max_series
        self._history = History(target, data_dir / "history" / f"{target.name}{storage.SUFFIX}")
        self._accuracy_path = data_dir / "accuracy" / f"{target.name}{storage.SUFFIX}"
        self._truth = Truth(target)
        self._registry = Registry(data_dir / "models" / target.name)
        self._trained: _Trained | None = None
        self._training: _Training | None = None
        self._last: Forecast | None = None
        self._last_keys: list[str] = []
        self._failure = ""
        self._train_at = -math.inf
        self._saved_at = -math.inf
        self._warned: set[str] = set()

    @property
    def training(self) -> bool:
        """Whether a training is under way."""
        return self._training is not None

    def load(self) -> None:
        """Take up history, accuracy and models that an earlier process kept."""
        self._history.load()
        try:
            if self._accuracy_path.exists():
                self._truth.restore(storage.read(self._accuracy_path))
        except StoreError as error:
            log.error("accuracy starts anew", forecast=self.target.name, error=str(error))
        version = self._registry.newest()
        if version is not None and version.about.purpose != self.target.purpose:
            log.info("config changed, models are trained anew", forecast=self.target.name, version=version.number)
        elif version is not None:
            try:
                predictor = build(self.target.models).restore(version.state)
            except (CorruptFile, KeyError, ValueError) as error:
                log.error("models of another kind are left", forecast=self.target.name, error=repr(error))
                return
            self._trained = _Trained(predictor, version.number, version.about.trained_at)
            self._train_at = version.about.trained_at + self.target.train_every
            log.info("models restored", forecast=self.target.name, version=version.number)

    def round(self) -> None:
        """Read, score, predict, store. Raises SourceError (nothing changed); everything else is dealt with here."""
        now = self._clock()
        with self._meters.query_duration(self.target.name):
            frame = self._history.update(self._source, now)
        self._finish_training()
        usable = self._usable(frame, now)
        if self._last is not None and self._last.start > frame.end and self._same_version():
            self._store.refresh(self.target.name, now)
        elif usable.labels:
            self._predict(usable, now)
        self._start_training_when_due(usable, now)
        if now - self._saved_at >= SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Keep history and accuracy for the next process; a full disk is logged and counted, and work goes on."""
        self._saved_at = self._clock()
        try:
            self._history.save()
            storage.write(self._accuracy_path, self._truth.state())
        except StoreError as error:
            self._meters.error(self.target.name, "store")
            log.error("history not saved", forecast=self.target.name, error=str(error))

    def _usable(self, frame: Frame, now: float) -> Frame:
        """The series that can be forecast; the others are counted by reason."""
        skipped = dict.fromkeys(("source_gone", "too_short", "max_series"), 0)
        rows: list[int] = []
        known = ~np.isnan(frame.values)
        newest = frame.length - 1 - np.argmax(known[:, ::-1], axis=1) if frame.labels else np.empty(0, int)
        max_age = max(MAX_AGE_SECONDS, 2 * frame.step)
        for row in range(len(frame.labels)):
            if now - (frame.start + newest[row] * frame.step) > max_age:
                skipped["source_gone"] += 1
            elif known[row].sum() < MIN_POINTS:
                skipped["too_short"] += 1
            elif len(rows) >= self._max_series:
                skipped["max_series"] += 1
            else:
                rows.append(row)
        usable = Frame(frame.start, frame.step, tuple(_own(frame.labels[i]) for i in rows), frame.values[rows])
        self._meters.skipped(self.target.name, skipped)
        self._check_labels(frame, usable)
        if skipped["max_series"]:
            self._warn(
                "max_series",
                f"{skipped['max_series']} series are left out: forecaster.max_series is {self._max_series}; "
                "aggregate in the query or raise it",
            )
        return usable

    def _check_labels(self, frame: Frame, usable: Frame) -> None:
        if not frame.labels:
            raise AnswerUnusable(f"the query answers no series: try it in Prometheus (query: {self.target.query})")
        for labels in frame.labels:
            if clash := OWN_LABELS & labels.keys():
                raise AnswerUnusable(
                    f"the query's series have the label {sorted(clash)[0]}, which is CloudPulse's own: rename it with "
                    f"label_replace, or aggregate it away (query: {self.target.query})"
                )
        if len({label_key(labels) for labels in usable.labels}) < len(usable.labels):
            raise AnswerUnusable(
                f"the query's series differ in their metric name only: ask for one metric, or aggregate "
                f"(query: {self.target.query})"
            )
        if raw := next((x["__name__"] for x in frame.labels if x.get("__name__", "").endswith("_total")), None):
            self._warn("counter", f"{raw} is a counter fed raw, which only ever rises: use rate({raw}[5m])")

    def _warn(self, kind: str, message: str) -> None:
        """Log a warning once, not every round."""
        if kind not in self._warned:
            self._warned.add(kind)
            log.warning(message, forecast=self.target.name)

    def _predict(self, frame: Frame, now: float) -> None:
        keys = [label_key(labels) for labels in frame.labels]
        log_changes(self.target.name, self._truth.observed(frame, keys, now))
        if self._trained is None:
            floor = build(FLOOR).fit(frame, self.target.steps)
            self._trained = _Trained(floor, 0, math.nan)
        demoted = self._truth.demoted(keys)
        with self._meters.predict_duration(self.target.name):
            spoken = self._speak(self._trained, frame, keys, demoted)
        raw = spoken.forecast
        whole = _kept(replace(raw, values=self._truth.calibrated(raw, keys), parts={}), frame, self.target)
        forecast = whole.at(self.target.all_levels)
        self._truth.predicted(raw.at(self.target.all_levels), forecast, spoken.parts, keys)
        issue = Issue(
            target=self.target,
            forecast=forecast,
            issued_at=now,
            expected_now=self._expected(frame, forecast, keys),
            observed=frame.values[:, -1],
            scores=self._truth.scores(keys),
            weights=spoken.weights,
            version=self._trained.version,
            trained_at=self._trained.trained_at,
            chances={
                threshold.label: threshold_probability(whole, frame, threshold, self.target.horizons)
                for threshold in self.target.crossings
            },
            demoted=demoted.among(spoken.parts),
        )
        if self._last is None:
            log.info("first forecast", forecast=self.target.name, series=len(forecast.labels))
        self._last, self._last_keys = forecast, keys
        self._store.put(issue)

    def _speak(self, trained: _Trained, frame: Frame, keys: list[str], demoted: Demoted) -> fallback.Spoken:
        """What the models say; where they fail altogether, seasonal naive for this round."""
        horizon, levels = self.target.steps, self.target.predicted_levels
        try:
            spoken = fallback.speak(trained.predictor, frame, keys, horizon, levels, demoted)
        except Exception as error:
            if trained.version == 0:
                raise
            self._meters.error(self.target.name, "predict")
            if repr(error) != self._failure:
                log.exception("models failed, seasonal naive forecasts instead", forecast=self.target.name)
            self._failure = repr(error)
            return fallback.floor_alone(frame, horizon, levels)
        if self._failure:
            log.info("models work again", forecast=self.target.name)
        self._failure = ""
        return spoken

    def _expected(self, frame: Frame, forecast: Forecast, keys: list[str]) -> NDArray[np.float64]:
        """What the forecast before said about the newest column."""
        if self._last is None:
            return np.full((len(forecast.labels), len(forecast.levels)), np.nan)
        values = at(self._last.values, (frame.end - self._last.start) / self._last.step)
        if keys == self._last_keys:
            return values
        row = {key: i for i, key in enumerate(self._last_keys)}
        rows = np.array([row.get(key, len(values)) for key in keys], np.intp)
        return np.concatenate([values, np.full((1, values.shape[1]), np.nan)])[rows]

    def _same_version(self) -> bool:
        """Whether the last forecast came of the models that are in use now."""
        issue = self._store.get(self.target.name)
        return issue is not None and self._trained is not None and issue.version == self._trained.version

    def _start_training_when_due(self, frame: Frame, now: float) -> None:
        if self._training is not None or not frame.labels or now < self._train_at:
            return
        future = self._trainer.submit(frame, self.target.models, self.target.steps)
        about = About(now, frame.start, frame.end, len(frame.labels), self.target.purpose)
        self._training = _Training(future, about)
        log.info("training", forecast=self.target.name, series=len(frame.labels), points=frame.length)

    def _finish_training(self) -> None:
        training = self._training
        if training is None or not training.future.done():
            return
        self._training = None
        now = self._clock()
        try:
            state = training.future.result()
            predictor = build(self.target.models).restore(state)
        except Exception as error:  # noqa: BLE001  any failure of a model: the version before goes on
            self._meters.error(self.target.name, "train")
            log.error("training failed, the models before go on", forecast=self.target.name, error=repr(error))
            # Not before another interval: a model that fails on this data fails again at once.
            self._train_at = now + self.target.train_every
            return
        began = training.about.trained_at
        self._train_at = began + self.target.train_every
        self._meters.trained(self.target.name, now - began)
        number = self._trained.version + 1 if self._trained else 1
        try:
            number = self._registry.add(state, training.about).number
        except StoreError as error:
            self._meters.error(self.target.name, "store")
            log.error("models not saved, used from memory", forecast=self.target.name, error=str(error))
        self._trained = _Trained(predictor, number, began)
        log.info("trained", forecast=self.target.name, version=number, seconds=round(now - began, 1))


def reason(error: CloudPulseError) -> str:
    """The `reason` label of an error: `SourceUnavailable` as `source_unavailable`."""
    name = type(error).__name__
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def _own(labels: dict[str, str] | object) -> dict[str, str]:
    assert isinstance(labels, dict)
    return {name: value for name, value in labels.items() if name != "__name__"}


def _kept(forecast: Forecast, frame: Frame, target: Target) -> Forecast:
    """Within the bounds of the target, and not below 0 for a series that never was."""
    low, high = target.bounds.min, target.bounds.max
    never_below = np.where(np.isnan(frame.values), np.inf, frame.values).min(1, initial=np.inf) >= 0
    floor = np.maximum(np.where(never_below, 0.0, -np.inf), -np.inf if low is None else low)
    values = np.clip(forecast.values, floor[:, None, None], np.inf if high is None else high)
    return replace(forecast, values=values)
