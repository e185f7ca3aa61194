"""Anomaly episodes: when a series' score goes above 1, and when it is back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cloudpulse.promql import Labels
from forecaster.anomaly import anomaly_score
from forecaster.model import label_key
from forecaster.store import Issue

BEGINS, ENDS = 1.0, 0.7
"""An episode begins above the one and ends at or below the other, so that a score at the edge doesn't flap."""
MOST = 500
"""Episodes of a forecast at the same time, the highest scores first; the others begin as these end."""


@dataclass(frozen=True)
class Turn:
    """An episode begins or ends; NaN for what isn't known, as of a series that is gone."""

    forecast: str
    labels: Labels
    state: Literal["begins", "ends"]
    at: float  # Unix seconds: of the value
    score: float
    observed: float
    expected: dict[str, float]  # level -> value


class Episodes:
    """Which are under way. For several threads, of which each tells of forecasts of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[str, dict[str, Turn]] = {}  # forecast -> key of the series -> how it began

    def turns(self, issue: Issue) -> list[Turn]:
        """What begins and ends with this issue; of a score that isn't known nothing follows."""
        name = issue.target.name
        with self._lock:
            under_way = self._under_way.setdefault(name, {})
            scores = anomaly_score(issue)
            found = [*self._ended(issue, scores.tolist(), under_way), *_begun(issue, scores, under_way)]
            for key, turn in found:
                if turn.state == "ends":
                    del under_way[key]
                else:
                    under_way[key] = turn
            return [turn for _, turn in found]

    def dropped(self, name: str, at: float) -> list[Turn]:
        """The forecast is no more, and so are its episodes."""
        with self._lock:
            return [_gone(turn, at) for turn in self._under_way.pop(name, {}).values()]

    def _ended(self, issue: Issue, scores: list[float], under_way: dict[str, Turn]) -> Iterator[tuple[str, Turn]]:
        if not under_way:
            return
        rows = {label_key(labels): row for row, labels in enumerate(issue.forecast.labels)}
        for key, turn in under_way.items():
            row = rows.get(key)
            if row is None:
                yield key, _gone(turn, _at(issue))
            elif scores[row] <= ENDS:
                yield key, _turn(issue, row, "ends", scores[row])


def _begun(issue: Issue, scores: np.ndarray, under_way: dict[str, Turn]) -> Iterator[tuple[str, Turn]]:
    rows = np.flatnonzero(scores > BEGINS)
    for row in rows[np.argsort(-scores[rows], kind="stable")].tolist():
        key = label_key(issue.forecast.labels[row])
        if len(under_way) >= MOST:
            return
        if key not in under_way:
            yield key, _turn(issue, row, "begins", float(scores[row]))


def _turn(issue: Issue, row: int, state: Literal["begins", "ends"], score: float) -> Turn:
    expected = zip(issue.forecast.levels, issue.expected_now[row].tolist(), strict=True)
    return Turn(
        issue.target.name,
        issue.forecast.labels[row],
        state,
        _at(issue),
        score,
        float(issue.observed[row]),
        {f"{level:g}": value for level, value in expected},
    )


def _gone(turn: Turn, at: float) -> Turn:
    unknown = dict.fromkeys(turn.expected, float("nan"))
    return Turn(turn.forecast, turn.labels, "ends", at, float("nan"), float("nan"), unknown)


def _at(issue: Issue) -> float:
    """Of the newest column."""
    return issue.forecast.start - issue.forecast.step
