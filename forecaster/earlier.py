"""What Prometheus has scraped of our own series: earlier forecasts of a series, and its anomaly scores.

A bonus that is asked for when one series is looked at: where Prometheus is slow, busy with us or doesn't scrape the
forecaster, it is absent, and nothing waits for it longer than WAIT_SECONDS.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from cloudpulse import logs, names
from cloudpulse.config import PrometheusSettings
from cloudpulse.durations import Duration
from cloudpulse.errors import SourceError
from cloudpulse.matcher import Matcher
from cloudpulse.promql import Labels, MetricSource, Prometheus, Series
from forecaster.config import Target

WAIT_SECONDS = 2.0
AT_ONCE = 2
"""Questions under way: the threads that answer /metrics must not all wait for a Prometheus that hangs."""
POINTS = 1440
"""Points of a series at most: one a minute for a day."""

log = logs.get(__name__)


@dataclass(frozen=True)
class Remembered:
    """By horizon and level, [times]; and the scores. Times are Unix seconds that rise by one step; NaN where absent."""

    times: NDArray[np.float64]
    values: Mapping[str, Mapping[str, NDArray[np.float64]]] = field(default_factory=dict)
    scores: NDArray[np.float64] | None = None


class Earlier:
    """Asks `source`, which should give up after WAIT_SECONDS. For several threads."""

    def __init__(self, source: MetricSource) -> None:
        self._source = source
        self._slots = threading.BoundedSemaphore(AT_ONCE)

    def of(self, target: Target, labels: Labels, start: float, length: int, step: float) -> Remembered:
        """What is remembered of one series at start, start + step, …; nothing where that can't be told now."""
        times = start + step * np.arange(length, dtype=np.float64)
        if not length or not self._slots.acquire(timeout=WAIT_SECONDS / 4):
            return Remembered(times)
        try:
            answer = self._source.range(_query(target, labels), start, times[-1], step)
        except SourceError as error:
            log.debug("earlier forecasts not asked", forecast=target.name, error=str(error))
            return Remembered(times)
        finally:
            self._slots.release()
        return _sorted(answer, times, step)


def impatient(settings: PrometheusSettings) -> Prometheus:
    """The configured Prometheus, asked with little patience."""
    timeout = Duration(min(WAIT_SECONDS, float(settings.timeout)))
    return Prometheus(msgspec.structs.replace(settings, timeout=timeout))


def selector(name: str, target: Target, labels: Labels, own: Mapping[str, str] = {}) -> str:
    """Exactly one of our series in PromQL; with `own` labels beside those of its source."""
    wanted = {"forecast": target.name, **labels, **own}
    return f"{name}{{{', '.join(str(Matcher(key, '=', value)) for key, value in wanted.items())}}}"


def _query(target: Target, labels: Labels) -> str:
    """`offset` a horizon shows what was forecast that long before. One question for all: series differ in labels."""
    parts = [
        f"{selector(names.FORECAST_VALUE.name, target, labels, {'horizon': str(one)})} offset {one}"
        for one in target.horizons
    ]
    return " or ".join([*parts, selector(names.FORECAST_ANOMALY_SCORE.name, target, labels)])


def _sorted(answer: Sequence[Series], times: NDArray[np.float64], step: float) -> Remembered:
    found: dict[str, dict[str, NDArray[np.float64]]] = {}
    scores = None
    for one in answer:
        column = np.full(len(times), np.nan)
        place = np.rint((one.times - times[0]) / step).astype(np.intp)
        inside = (place >= 0) & (place < len(times))
        column[place[inside]] = one.values[inside]
        if one.labels.get("__name__") == names.FORECAST_ANOMALY_SCORE.name:
            scores = column
        elif "horizon" in one.labels and "level" in one.labels:
            found.setdefault(one.labels["horizon"], {})[one.labels["level"]] = column
    levels = {horizon: dict(sorted(by.items(), key=lambda item: _level(item[0]))) for horizon, by in found.items()}
    return Remembered(times, levels, scores)


def _level(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.inf
