"""The rows of a forecast's series, as JSON: what is known of each at a glance."""

from __future__ import annotations

import hashlib
import math
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from cloudpulse.durations import Duration
from cloudpulse.promql import Labels
from forecaster.anomaly import anomaly_score
from forecaster.background import SPARK_AHEAD, spark_every
from forecaster.demotion import Demoted
from forecaster.model import label_key
from forecaster.store import Issue
from forecaster.thresholds import time_to_threshold
from forecaster.trust import trust

DIGITS = 4
"""Significant digits of the numbers of a row."""

_encode = msgspec.json.Encoder().encode  # NaN and infinity become null


class Table:
    """The rows of one Issue, encoded once; only the seconds until a crossing are filled in when they are shown."""

    def __init__(self, issue: Issue, names: Ids) -> None:
        self._forecast = weakref.ref(issue.forecast)  # which is let go with its Issue
        self.ids = names
        self._threshold, self._crossing_at = _crossings(issue)
        self._rows = list(_rows(issue, names.of_row))

    def shows(self, issue: Issue) -> bool:
        """Whether these are the rows of `issue`, whose time may have moved on."""
        return self._forecast() is issue.forecast

    def row(self, number: int, now: float) -> bytes:
        """One row as JSON, at Unix time `now`."""
        at = self._crossing_at[number]
        if at == np.inf:
            return self._rows[number] + b"null}"
        seconds = round(max(at - now, 0.0)) if at > now else 0
        return b'%b{"threshold":%b,"seconds":%d}}' % (self._rows[number], _encode(self._threshold[number]), seconds)

    def rows(self, now: float) -> Iterator[bytes]:
        """All of them."""
        return (self.row(number, now) for number in range(len(self._rows)))


@dataclass(frozen=True)
class Ids:
    """What series are called in addresses: the same for the same forecast and labels, whenever and wherever."""

    labels: tuple[Labels, ...]
    of_row: tuple[str, ...]
    row_of: Mapping[str, int]


def ids(name: str, labels: tuple[Labels, ...], kept: Table | None = None) -> Ids:
    """Of the forecast `name`; those of `kept` where its series are these."""
    if kept is not None and kept.ids.labels == labels:
        return kept.ids
    made = tuple(series_id(name, one) for one in labels)
    return Ids(labels, made, {text: row for row, text in enumerate(made)})


def series_id(name: str, labels: Labels) -> str:
    """What a series of the forecast `name` is called."""
    text = f"{name}\x00{label_key(labels)}".encode(errors="surrogatepass")
    return hashlib.blake2b(text, digest_size=8).hexdigest()


def _rows(issue: Issue, names: Sequence[str]) -> Iterator[bytes]:
    """Each row as JSON, up to the value of `crossing`."""
    levels = [f"{level:g}" for level in issue.forecast.levels]
    horizons = [str(horizon) for horizon in issue.target.horizons]
    demoted = demoted_models(issue)
    columns = zip(
        names,
        issue.forecast.labels,
        rounded(issue.observed).tolist(),
        rounded(issue.expected_now).tolist(),
        rounded(anomaly_score(issue)).tolist(),
        rounded(issue.scores.mase).tolist(),
        trust(issue),
        *_sparks(issue),
        strict=True,
    )
    step = spark_every(issue.forecast.horizon) * issue.forecast.step
    for number, (name, labels, observed, expected, score, mase, word, past, ahead) in enumerate(columns):
        row = {
            "id": name,
            "forecast": issue.target.name,
            "labels": labels,
            "observed": observed,
            "expected": dict(zip(levels, expected, strict=True)),
            "score": score,
            "mase": dict(zip(horizons, mase, strict=True)),
            "trust": word,
            "demoted": demoted.get(number, []),
            "spark": {"past": past, "ahead": ahead, "past_step": step, "ahead_step": step},
        }
        yield _encode(row)[:-1] + b',"crossing":'


def _sparks(issue: Issue) -> tuple[list[list[float]], list[list[float]]]:
    """Past, its last point the newest column, and median ahead, its first point a step of the sparkline later."""
    every = spark_every(issue.forecast.horizon)
    median = issue.forecast.values[:, every - 1 :: every, issue.forecast.levels.index(0.5)][:, :SPARK_AHEAD]
    past: list[list[float]] = [[] for _ in issue.forecast.labels]
    if issue.background is not None:
        past = rounded(issue.background.spark.astype(np.float64)).tolist()
    return past, rounded(median).tolist()


def _crossings(issue: Issue) -> tuple[list[float], NDArray[np.float64]]:
    """Each series' threshold that its median reaches first, and the Unix time then; +inf: none, -inf: it is there."""
    k = issue.forecast.levels.index(0.5)
    forecast = replace(issue.forecast, levels=(0.5,), values=issue.forecast.values[:, :, k : k + 1], parts={})
    median = replace(issue, forecast=forecast)
    at = np.full(len(forecast.labels), np.inf)
    threshold = np.full(len(at), np.nan)
    for one in issue.target.crossings:
        seconds = time_to_threshold(median, one, issue.issued_at)[:, 0]
        moment = np.where(seconds == 0, -np.inf, issue.issued_at + np.where(np.isnan(seconds), np.inf, seconds))
        threshold = np.where(moment < at, one.value, threshold)
        at = np.minimum(at, moment)
    return threshold.tolist(), at


def demoted_models(issue: Issue) -> dict[int, list[str]]:
    """Row -> the models that have no say at some horizon."""
    found: dict[int, list[str]] = {}
    for model, since in issue.demoted.since.items():
        for row in np.flatnonzero((~np.isnan(since)).any(1)).tolist():
            found.setdefault(row, []).append(model)
    return found


def demotions(demoted: Demoted, row: int) -> dict[str, dict[str, Any]]:
    """The models that have no say in a series: how far ahead, since when and why."""
    answer = {}
    for model, since in demoted.since.items():
        out = np.flatnonzero(~np.isnan(since[row])).tolist()
        if out:
            first = min(out, key=lambda h: since[row, h])
            ratio = float(demoted.ratio[model][row, first])
            answer[model] = {
                "horizons": [str(Duration(demoted.leads[h])) for h in out],
                "since": float(since[row, first]),
                "error_ratio": ratio if math.isfinite(ratio) else None,
                "why": f"its error was {ratio:.2g} times that of seasonal naive",
            }
    return answer


def rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """To DIGITS significant digits; NaN and infinity, which JSON has not, as NaN."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        exponent = np.floor(np.log10(np.abs(values)))
        # Powers of ten are exact only upwards: dividing by one keeps 0.1 from becoming 0.1000…01.
        digits = np.clip(np.nan_to_num(DIGITS - 1 - exponent, posinf=0, neginf=0), -300, 300)
        up, down = 10.0 ** np.maximum(digits, 0), 10.0 ** np.maximum(-digits, 0)
        found: NDArray[np.float64] = np.where(values == 0, 0.0, np.rint(values * up / down) / up * down)
    return np.where(np.isfinite(found), found, np.nan)
