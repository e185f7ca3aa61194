"""What was last predicted, for everyone who reads: `/metrics`, the JSON API, later the query API."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from cloudpulse import logs
from cloudpulse.clock import Clock
from forecaster.accuracy import Scores
from forecaster.background import Background
from forecaster.config import Target
from forecaster.demotion import NONE_DEMOTED, Demoted
from forecaster.forecast import Forecast

MAX_AGE_SECONDS = 300.0
"""A forecast older than this is absent: it would be an old number passed off as new."""
AHEAD_SECONDS = 5.0
"""An issue from further in the future is absent: the clock was set back, and its age isn't known."""

log = logs.get(__name__)


@dataclass(frozen=True)
class Issue:
    """One prediction of a target with all that is known about it. Rows are the forecast's series."""

    target: Target
    forecast: Forecast
    issued_at: float  # Unix seconds
    expected_now: NDArray[np.float64]  # [series, levels]: what was predicted for the newest column, NaN if nothing was
    observed: NDArray[np.float64]  # [series]: the newest column
    scores: Scores
    weights: dict[str, NDArray[np.float64]]  # model -> [series], as in use
    version: int  # of the trained models; 0: not trained yet
    trained_at: float  # Unix seconds; NaN if never
    chances: dict[str, NDArray[np.float64]] = field(default_factory=dict)  # threshold's label -> [series, horizons]
    demoted: Demoted = NONE_DEMOTED
    background: Background | None = None  # None: nothing but the Issue is known

    def ahead(self, seconds: float, now: float) -> NDArray[np.float64]:
        """Quantiles `seconds` after Unix time `now`, [series, levels], between the steps on a straight line."""
        position = (now + seconds - self.forecast.start) / self.forecast.step
        return at(self.forecast.values, position)


def at(values: NDArray[np.float64], position: float) -> NDArray[np.float64]:
    """`values[:, position]` for a position between steps; NaN beyond the ends (just before the start is the start)."""
    last = values.shape[1] - 1
    if position > last or position < -1 or last < 0:
        return np.full((values.shape[0], values.shape[2]), np.nan)
    position = max(position, 0.0)
    low = int(position)
    part = position - low
    if part == 0:
        return values[:, low]
    return values[:, low] * (1 - part) + values[:, low + 1] * part


Listener = Callable[[str, Issue | None, bool], None]
"""Told a forecast's name, its Issue (None: it is no more) and whether that was made anew or still holds."""


class ForecastStore:
    """The newest Issue of each target. For several threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._issues: dict[str, Issue] = {}
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Call `listener` at every change from now on, in the thread that makes it; it must not wait."""
        self._listeners.append(listener)

    def put(self, issue: Issue) -> None:
        """Replace what was there, whatever the clock said then: it may have been set back since."""
        with self._lock:
            self._issues[issue.target.name] = issue
        self._tell(issue.target.name, issue, anew=True)

    def refresh(self, name: str, issued_at: float) -> None:
        """The forecast of `name` still is the newest possible: no new grid point since."""
        with self._lock:
            if name not in self._issues:
                return
            issue = self._issues[name] = replace(self._issues[name], issued_at=issued_at)
        self._tell(name, issue, anew=False)

    def drop(self, name: str) -> None:
        """Forget a target: it is no longer configured, or has nothing to forecast."""
        with self._lock:
            self._issues.pop(name, None)
        self._tell(name, None, anew=False)

    def fresh(self) -> list[Issue]:
        """The issues that are young enough to be shown, by name."""
        now = self._clock()
        with self._lock:
            issues = [self._issues[name] for name in sorted(self._issues)]
        return [issue for issue in issues if -AHEAD_SECONDS <= now - issue.issued_at <= max_age(issue.target)]

    def get(self, name: str) -> Issue | None:
        """One fresh issue, or None."""
        return next((issue for issue in self.fresh() if issue.target.name == name), None)

    def _tell(self, name: str, issue: Issue | None, *, anew: bool) -> None:
        for listener in self._listeners:
            try:
                listener(name, issue, anew)
            except Exception:  # a bug of who listens must not end the round that tells
                log.exception("change not told", forecast=name)


def max_age(target: Target) -> float:
    """Seconds after which a forecast of `target` is absent."""
    return max(MAX_AGE_SECONDS, 2.5 * max(target.every, target.step))
