"""The outlook in words: short sentences in plain English, rounded as people speak. Empty where nothing is known."""

from __future__ import annotations

import math
from dataclasses import dataclass

from alert_bridge.insights.forecasts import Forecast, Trust
from alert_bridge.insights.units import Unit
from cloudpulse.durations import Duration

MINUTE = 60.0


@dataclass(frozen=True)
class Subject:
    """What sentences are about: the value now (NaN: not known), and when it fires.

    `sign` is 1 where it fires above `limit`, -1 below, 0 or None where that isn't said.
    """

    actual: float
    limit: float | None
    sign: int
    unit: Unit

    @property
    def beyond(self) -> bool:
        """Whether it is where it fires."""
        return self.limit is not None and self.sign * (self.actual - self.limit) > 0


def expected(subject: Subject, forecast: Forecast) -> str:
    """The range that was expected for now, against what is: `Expected now: 40–55 %. It is 93 %, above that.`"""
    band = forecast.expected.values[-1]
    if len(band) < 2 or not all(map(math.isfinite, band)):
        return ""
    low, high = float(band[0]), float(band[-1])
    said = f"Expected now: {subject.unit.span(low, high)}."
    if not math.isfinite(subject.actual):
        return said
    where = "above that" if subject.actual > high else "below that" if subject.actual < low else "within that"
    return f"{said} It is {subject.unit.text(subject.actual)}, {where}."


def ahead(subject: Subject, forecast: Forecast) -> str:
    """When it recovers, or when it crosses; with the chances that the levels 0.5 and 0.9 stand for."""
    if subject.limit is None or not subject.sign:
        return ""
    return _recovery(subject, forecast) if subject.beyond else _crossing(subject, forecast)


def trust(given: Trust) -> str:
    """How the forecast has done lately."""
    if math.isnan(given.mase):
        return "This forecast is too new to say how good it is."
    if not given.given:
        return (
            f"The forecast is not shown: lately its error was {_times(given.mase)} that of repeating the season, "
            f"{_span(given.horizon)} ahead."
        )
    better = round(100 * (1 - given.mase))
    how = f"{better} % better than" if better else "no better than"
    held = ""
    if math.isfinite(given.inside):
        held = f"; {100 * given.inside:.0f} % of values fell in its {100 * given.band:.0f} % band"
    return f"Lately this forecast was {how} repeating the season, {_span(given.horizon)} ahead{held}."


def duration(seconds: float) -> str:
    """As people say it: to the minute below a quarter of an hour, to five below two hours, then to half an hour."""
    minutes = seconds / MINUTE
    if minutes < 1.5:
        return "a minute"
    if minutes < 15:
        return f"{minutes:.0f} min"
    if minutes < 117.5:
        return f"{5 * round(minutes / 5)} min"
    if minutes < 48 * 60:
        return f"{0.5 * round(minutes / 30):g} h"
    return f"{minutes / 1440:.0f} days"


def _recovery(subject: Subject, forecast: Forecast) -> str:
    """The path of the level on the bad side is the last to come back: then its chance is 90 %."""
    now, limit, sign = forecast.ahead.times[0], subject.limit, subject.sign
    assert limit is not None
    reach = forecast.ahead.reach - now
    if reach < MINUTE:
        return ""
    place = f"{'under' if sign > 0 else 'above'} {subject.unit.text(limit)}"
    even = forecast.ahead.crosses(0.5, limit, -sign)
    if even is None:
        return f"Not expected back {place} within {duration(reach)}."
    said = f"Expected back {place} in {duration(even - now)} (50 %)"
    sure = forecast.ahead.crosses(0.9 if sign > 0 else 0.1, limit, -sign)
    if forecast.ahead.level(0.9 if sign > 0 else 0.1) is None:
        return f"{said}."
    if sure is None:
        return f"{said}, but not surely within {duration(reach)}."
    return f"{said}, almost surely in {duration(sure - now)} (90 %)."


def _crossing(subject: Subject, forecast: Forecast) -> str:
    """The path of the level on the bad side crosses first: then its chance is 10 %."""
    assert subject.limit is not None
    place = subject.unit.text(subject.limit)
    early = _seconds(subject, forecast, 0.9 if subject.sign > 0 else 0.1)
    even = _seconds(subject, forecast, 0.5)
    if even is None:
        return ""
    reach = duration(forecast.ahead.reach - forecast.ahead.times[0])
    may = "" if early is None or math.isinf(early) else f"{duration(early)} (10 %)"
    if math.isfinite(even):
        # Said alike, the second time would tell nothing.
        sooner = f", perhaps in {may}" if may and duration(early or 0) != duration(even) else ""
        return f"Expected to cross {place} in {duration(even)} (50 %){sooner}."
    if may:
        return f"May cross {place} in {may}, but is not expected to within {reach}."
    return f"Not expected to cross {place} within {reach}."


def _seconds(subject: Subject, forecast: Forecast, level: float) -> float | None:
    """Until the level crosses: by the forecaster's whole path where it says so, else by ours; None if not known."""
    if 0 < (told := forecast.crossings.get(level, math.inf)) < math.inf:  # 0 would be another direction's
        return told
    way = forecast.ahead
    if way.level(level) is None or subject.limit is None or way.reach - way.times[0] < MINUTE:
        return None
    found = way.crosses(level, subject.limit, subject.sign)
    return math.inf if found is None else found - float(way.times[0])


def _times(mase: float) -> str:
    return f"{mase:.1f} times" if mase < 10 else "over 10 times"


def _span(horizon: str) -> str:
    seconds = Duration.parse(horizon)
    return {3600.0: "an hour", 86400.0: "a day"}.get(float(seconds), duration(seconds))
