"""Predicted crossings as annotations in the future: one for each series and threshold that the forecaster sees crossed.

Grafana itself keeps what is drawn: each round compares that with what is predicted now, so that nothing is drawn twice
and nothing stays that no longer holds, whatever was lost in between.
"""

from __future__ import annotations

import hashlib
import html
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from alert_bridge.grafana.client import Annotation, Drawn, Grafana, fitting
from alert_bridge.grafana.lines import line
from cloudpulse import names
from cloudpulse.clock import Clock
from cloudpulse.promql import MetricSource, Sample

TAG = "cloudpulse"
KIND = "prediction"
EARLY, LIKELY = "0.9", "0.5"
"""Levels: from when on a crossing is possible (1 in 10), and when it is as likely as not."""
MOST = 100
"""Crossings drawn, the nearest; and lines pushed at once, times ten."""
AHEAD_SECONDS = 400 * 86400.0

QUERY = f'{names.FORECAST_TIME_TO_THRESHOLD.name}{{level=~"{EARLY}|{LIKELY}"}}'
FORECASTS = f'{names.FORECAST_VALUE.name}{{horizon!="0s"}}'

_OURS = ("__name__", "level")


@dataclass(frozen=True)
class Crossing:
    """A series that is predicted to cross: from `early` (possible) to `likely`, Unix seconds; equal if one is known."""

    labels: Mapping[str, str]
    early: float
    likely: float

    @property
    def key(self) -> str:
        """A tag that no other series and threshold has."""
        told = "\0".join(f"{name}\0{value}" for name, value in sorted(self.labels.items()))
        return f"{TAG}:{hashlib.sha256(told.encode()).hexdigest()[:12]}"

    def annotation(self) -> Annotation:
        """As it is drawn."""
        labels = self.labels
        forecast, threshold = labels.get("forecast", ""), labels.get("threshold", "")
        rest = {name: value for name, value in labels.items() if name not in ("forecast", "threshold")}
        of = " ".join(f"{name}={value}" for name, value in sorted(rest.items()))
        when = _clock_time(self.likely)
        if self.early < self.likely:
            when = f"{_clock_time(self.early)} (1 in 10) to {when} (as likely as not)"
        text = html.escape(f"{forecast} is predicted to cross {threshold}: {when}. {of}".strip()[:2000])
        tags = fitting(TAG, KIND, self.key, f"forecast:{forecast}", f"threshold:{threshold}",
                       *(f"{name}:{value}" for name, value in sorted(rest.items())))  # fmt: skip
        begin, end = round(self.early * 1000), round(self.likely * 1000)
        return Annotation(begin, text, tags, max(end, begin + 1))


class Crossings:
    """Draws what is predicted. One thread; of several replicas, the one whose turn it is."""

    def __init__(self, grafana: Grafana, source: MetricSource, clock: Clock, *, draw: bool, push: bool) -> None:
        self._grafana = grafana
        self._source = source
        self._clock = clock
        self._draw = draw
        self._push = push

    def round(self) -> None:
        """Bring Grafana up to date. Raises SourceError and DeliveryFailed, and goes on where it was at the next."""
        now = self._clock()
        if self._push:
            self._push_forecasts(now)
        if self._draw:
            self._draw_crossings(now)

    def _draw_crossings(self, now: float) -> None:
        predicted = crossings(self._source.instant(QUERY, now), now)
        due = sorted(predicted, key=lambda one: one.likely)[:MOST]
        wanted = {one.key: one for one in due}
        begin, end = round(now * 1000), round((now + AHEAD_SECONDS) * 1000)
        for drawn in self._grafana.find(TAG, KIND, begin=begin, end=end):
            key = next((tag for tag in drawn.tags or () if tag.startswith(f"{TAG}:")), "")
            crossing = wanted.pop(key, None)
            if crossing is None:
                self._grafana.remove(drawn.id)  # no longer predicted, or drawn twice
            elif _moved(drawn, crossing, now):
                new = crossing.annotation()
                self._grafana.change(drawn.id, time=new.time, timeEnd=new.time_end, text=new.text)
        for crossing in wanted.values():
            self._grafana.add(crossing.annotation())

    def _push_forecasts(self, now: float) -> None:
        samples = [one for one in self._source.instant(FORECASTS, now) if math.isfinite(one.value)]
        lines = [line("forecasts", _told(one.labels, "__name__"), {"value": one.value}, now) for one in samples]
        if lines:
            self._grafana.push(lines[: 10 * MOST])


def crossings(samples: list[Sample], now: float) -> list[Crossing]:
    """What is predicted: finite times that are still to come; a threshold already crossed isn't predicted any more."""
    found: dict[tuple[tuple[str, str], ...], dict[str, float]] = {}
    for one in samples:
        if math.isfinite(one.value) and one.value > 0:
            labels = tuple(sorted(_told(one.labels, *_OURS).items()))
            found.setdefault(labels, {})[one.labels["level"]] = now + one.value
    return [Crossing(dict(labels), min(times.values()), max(times.values())) for labels, times in found.items()]


def _told(labels: Mapping[str, str], *without: str) -> dict[str, str]:
    return {name: value for name, value in labels.items() if name not in without}


def _moved(drawn: Drawn, crossing: Crossing, now: float) -> bool:
    """By more than a minute and a tenth of the time that is left: a little less each round is no news."""

    def far(old: int, new: float) -> bool:
        return abs(old / 1000 - new) > max(60.0, 0.1 * (new - now))

    return far(drawn.time, crossing.early) or far(drawn.time_end or drawn.time, crossing.likely)


def _clock_time(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M} UTC"
