"""One group's inquiry: asks Prometheus what there is to know about its alerts, and hands out each finding at once."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alert_bridge.insight import NOTHING, Companion, Insight, Outlook
from alert_bridge.insights import company, expression, forecasts, reading, sentences, units
from alert_bridge.insights.config import InsightSettings
from alert_bridge.insights.expression import Condition
from alert_bridge.insights.forecasts import Forecast
from alert_bridge.insights.picture import Painter, Scene
from alert_bridge.insights.reading import Grid, Reading
from alert_bridge.insights.sentences import Subject
from alert_bridge.webhook import Alert, AlertGroup
from cloudpulse import logs, names
from cloudpulse.errors import QueryTimeout, SourceError, SourceUnavailable
from cloudpulse.promql import Labels, MetricSource

MOST_ALERTS = 20
"""Alerts whose values are asked for; the first ones, those that fire before those that don't."""
MOST_OUTLOOKS = 3
MOST_LINES = 5
MOST_EXPRESSIONS = 3
MOST_LABELS = 3
MOST_SLOW = 1000
DAY = 86400.0
SLOW_SECONDS = 600.0

_PREDICTIONS = frozenset(
    one.name for one in (names.FORECAST_VALUE, names.FORECAST_TIME_TO_THRESHOLD, names.FORECAST_THRESHOLD_PROBABILITY)
)
_UNTOLD = frozenset({"alertname", "severity", "forecast", "horizon", "level", "threshold", "job", "prometheus"})

log = logs.get(__name__)


class Expired(Exception):
    """Nobody waits for the answer any more."""


class Slow:
    """Expressions that weren't answered in time, which for a while aren't asked again. For several threads."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        self._lock = threading.Lock()

    def add(self, url: str) -> None:
        """This one was too slow."""
        with self._lock:
            if len(self._until) >= MOST_SLOW:
                self._until.pop(next(iter(self._until)))
            self._until[url] = time.monotonic() + SLOW_SECONDS

    def __contains__(self, url: str) -> bool:
        with self._lock:
            return self._until.get(url, 0.0) > time.monotonic()


@dataclass(frozen=True)
class Line:
    """One alert's series: what it is now and was, and what is known of where it goes.

    For an alert on a forecast it is what the forecast is of; `values` is then empty where that isn't known.
    """

    alert: Alert
    subject: Subject
    values: NDArray[np.float64]
    forecast: Forecast | None
    limits: NDArray[np.float64] | None = None


class Inquiry:
    """Asks in the order of worth: values, outlooks, company, picture; `found` is told all that is known so far.

    Raises SourceUnavailable when Prometheus can't be asked, Expired when `going` says that it is too late. Used by one
    thread.
    """

    def __init__(
        self,
        group: AlertGroup,
        source: MetricSource,
        settings: InsightSettings,
        painter: Painter,
        now: float,
        slow: Slow,
        going: Callable[[], bool],
        found: Callable[[Insight], None],
    ) -> None:
        self._group = group
        self._source = source
        self._settings = settings
        self._painter = painter
        self._grid = Grid.until(now, settings.past)
        self._slow = slow
        self._going = going
        self._tell = found
        self._known = NOTHING

    def run(self) -> None:
        """Find out."""
        alerts = sorted(self._group.alerts[: 10 * MOST_ALERTS], key=lambda one: not one.firing)[:MOST_ALERTS]
        asked = [one for one in alerts if self._settings.match.items() <= one.labels.items()]
        if not asked:
            return
        readings = self._readings(asked) if self._settings.expressions else {}
        mine = [(one, readings[one.generator_url]) for one in asked if one.generator_url in readings]
        values, texts = {}, {}
        for alert, read in mine:
            if (own := read.own(alert.labels)) is not None and math.isfinite(own.value):
                values[alert.fingerprint] = own.value
                texts[alert.fingerprint] = read.condition.unit.text(own.value)
        self._found(values=values, texts=texts)
        lines = []
        for alert, read in mine[:MOST_OUTLOOKS]:
            with self._step(alert.generator_url):
                if (line := self._line(alert, read)) is not None:
                    lines.append(line)
                    self._found(outlooks=(*self._known.outlooks, *_outlook(line)))
        lead = lines[0] if lines else None
        with self._step():
            self._found(company=self._company(lead.alert if lead else asked[0], lead))
        if lead is not None:
            with self._step():
                self._found(picture=self._picture(lead, readings[lead.alert.generator_url], mine))

    def _readings(self, alerts: list[Alert]) -> dict[str, Reading]:
        """By generatorURL."""
        found: dict[str, Reading] = {}
        for alert in {alert.generator_url: alert for alert in reversed(alerts)}.values():
            url = alert.generator_url
            condition = expression.condition(expression.of_url(url))
            if condition is None or len(found) == MOST_EXPRESSIONS or url in self._slow:
                continue
            with self._step(url):
                read = reading.read(self._source, condition, self._grid.end)
                if read.own(alert.labels) is not None and self._ours(alert, condition):
                    found[url] = read
        return found

    def _ours(self, alert: Alert, condition: Condition) -> bool:
        """Whether what this Prometheus has is what the alert is about: it must have fired here, too, when it began.

        Another cluster's Prometheus may have series with the same labels. A sample may have come in after the rule was
        evaluated, so the minute before counts as well. What began more than a day ago isn't asked for.
        """
        began = alert.starts_at.timestamp()
        if condition.limit is None or self._grid.end - began > DAY:
            return True
        for moment in (began, began - 60.0):
            own = reading.own(self._source.instant(condition.left, moment), alert.labels)
            if own is not None and condition.holds(own.value):
                return True
        return False

    def _line(self, alert: Alert, read: Reading) -> Line | None:
        own = read.own(alert.labels)
        if own is None:
            return None
        if _PREDICTIONS & set(read.condition.metrics):
            return self._predicted(alert, read, own.labels)
        values = read.paths(self._source, [own.labels], self._grid)[0]
        condition = read.condition
        limits = self._limits(alert, condition) if condition.against else None
        limit = condition.limit if limits is None else _last(limits)
        subject = Subject(own.value, limit, condition.sign, condition.unit)
        forecast = None
        with self._step(alert.generator_url):
            forecast = self._forecast(alert, own.labels, own.value, limit, values)
        return Line(alert, subject, values, forecast, limits)

    def _limits(self, alert: Alert, condition: Condition) -> NDArray[np.float64] | None:
        """A threshold that is an expression, over the grid."""
        read = reading.read(self._source, Condition(condition.against), self._grid.end)
        own = read.own(alert.labels)
        return None if own is None else read.paths(self._source, [own.labels], self._grid)[0]

    def _forecast(
        self, alert: Alert, labels: Labels, actual: float, limit: float | None, values: NDArray[np.float64]
    ) -> Forecast | None:
        """The one that follows these values; found by what they were in the middle of the grid."""
        known = np.flatnonzero(np.isfinite(values))
        if not len(known):
            return None
        middle = int(known[len(known) // 2])
        told = {"forecast": alert.labels["forecast"]} if "forecast" in alert.labels else {}
        back = self._grid.end - self._grid.times[middle]
        fits = forecasts.candidates(self._source, {**labels, **told}, float(values[middle]), back, self._grid.end)
        chosen = forecasts.agreeing(self._source, fits, [values], self._grid)
        if chosen is None:
            return None
        return forecasts.read(self._source, chosen[0], actual, limit, self._grid, self._settings.ahead)

    def _predicted(self, alert: Alert, read: Reading, labels: Labels) -> Line | None:
        """An alert on a forecast: the picture is of what that forecasts, among what the expression says beside it."""
        mine = forecasts.own_labels(labels)
        measured = [one for text in read.condition.companions if (one := self._companion(alert, text)) is not None]
        chosen = forecasts.agreeing(self._source, [mine], [values for values, _ in measured], self._grid)
        values, unit = measured[chosen[1]] if chosen else (np.empty(0), units.PLAIN)
        actual = _last(values) if values.size else math.nan
        limit, sign = read.condition.limit, read.condition.sign
        if names.FORECAST_VALUE.name not in read.condition.metrics:
            limit, sign = _number(alert.labels.get("threshold", "")), 0
        forecast = forecasts.read(self._source, mine, actual, limit, self._grid, self._settings.ahead)
        if forecast is None:
            return None
        if limit is not None and sign == 0:
            # Which way the threshold is meant isn't told; what isn't there yet can only come from this side.
            sign = 1 if _last(forecast.ahead.values[:1].mean(axis=1)) < limit else -1
        return Line(alert, Subject(actual, limit, sign, unit), values, forecast)

    def _companion(self, alert: Alert, text: str) -> tuple[NDArray[np.float64], units.Unit] | None:
        condition = expression.condition(text)
        if condition is None or _PREDICTIONS & set(condition.metrics):
            return None
        read = reading.read(self._source, condition, self._grid.end)
        own = read.own(alert.labels)
        return None if own is None else (read.paths(self._source, [own.labels], self._grid)[0], condition.unit)

    def _company(self, alert: Alert, line: Line | None) -> tuple[Companion, ...]:
        values = line.values if line else np.empty(0)
        return company.find(self._source, alert.labels, line.forecast if line else None, values, self._grid)

    def _picture(self, lead: Line, read: Reading, mine: list[tuple[Alert, Reading]]) -> bytes | None:
        drawn = lead.forecast is not None and lead.forecast.trust.given
        if not np.isfinite(lead.values).any() and not drawn:
            return None
        others = self._others(lead, read, mine)
        return self._painter.paint(
            Scene(
                lead.alert.labels.get("alertname", "Alert"),
                self._subtitle(lead.alert, read),
                self._grid.times,
                lead.values,
                others,
                lead.subject.limit if lead.limits is None else lead.limits,
                lead.subject.sign,
                lead.forecast.expected if lead.forecast and drawn else None,
                lead.forecast.ahead if lead.forecast and drawn else None,
                lead.subject.unit,
            )
        )

    def _others(self, lead: Line, read: Reading, mine: list[tuple[Alert, Reading]]) -> list[NDArray[np.float64]]:
        """The lines of other firing alerts of the same expression."""
        if _PREDICTIONS & set(read.condition.metrics):
            return []
        found = [own.labels for alert, one in mine if one is read and alert.firing and (own := one.own(alert.labels))]
        own = read.own(lead.alert.labels)
        wanted = [labels for labels in found if own is None or labels != own.labels][: MOST_LINES - 1]
        return read.paths(self._source, wanted, self._grid) if wanted else []

    def _subtitle(self, alert: Alert, read: Reading) -> str:
        """Since when, and what tells the series from others: the end is what may be cut off."""
        shown = [alert.labels[name] for name in sorted(read.names & alert.labels.keys() - _UNTOLD)][:MOST_LABELS]
        when = alert.starts_at if alert.firing else alert.ended_at or alert.starts_at
        moment = when.astimezone(self._settings.zone)
        today = datetime.fromtimestamp(self._grid.end, self._settings.zone).date() == moment.date()
        since = f"{'since' if alert.firing else 'resolved at'} {moment:%H:%M}{'' if today else f', {moment:%-d %b}'}"
        return " · ".join([since, *([", ".join(shown)] if shown else [])])

    @contextlib.contextmanager
    def _step(self, url: str | None = None) -> Iterator[None]:
        """What can't be answered is left out; the rest goes on unless Prometheus itself is away.

        An expression that isn't answered in time says nothing of Prometheus: someone wrote it so.
        """
        if not self._going():
            raise Expired
        try:
            yield
        except QueryTimeout:
            if url is None:
                raise
            self._slow.add(url)
        except SourceUnavailable:
            raise
        except SourceError as error:
            log.info("insight left out", error=str(error)[:300])

    def _found(self, **findings: Any) -> None:
        """`findings` are fields of Insight."""
        self._known = replace(self._known, **findings)
        self._tell(self._known)


def _outlook(line: Line) -> tuple[Outlook, ...]:
    forecast, subject = line.forecast, line.subject
    if forecast is None:
        return ()
    trust = sentences.trust(forecast.trust)
    if not forecast.trust.given:
        return (Outlook(line.alert.fingerprint, trust=trust),)
    expected, ahead = sentences.expected(subject, forecast), sentences.ahead(subject, forecast)
    return (Outlook(line.alert.fingerprint, expected, ahead, trust),) if expected or ahead else ()


def _last(values: NDArray[np.float64]) -> float:
    """The newest, NaN where it isn't known."""
    return float(values[-1]) if values.size else math.nan


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
