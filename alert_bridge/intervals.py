"""When a route is active or mute: Alertmanager's `time_intervals`, in its own YAML and with its meaning.

Source: https://prometheus.io/docs/alerting/latest/configuration/#time_interval and alertmanager's timeinterval.go.
Months end where the calendar says, also those in which clocks change (there, `-1` is then the last day but one).
"""

from __future__ import annotations

import calendar
import functools
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import ClassVar, Self

from cloudpulse.config import Section, Written
from cloudpulse.zones import zone

_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|(24):(00)", re.ASCII)
_WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_MONTHS = tuple(name.lower() for name in calendar.month_name)  # the first is empty
_DAY_MINUTES = 1440


class Range(Written):
    """Whole numbers from `first` to `last`, both included; written `2:5`, or `3` for one."""

    example: ClassVar[str] = "2024:2026"

    def __init__(self, first: int, last: int) -> None:
        self.first = first
        self.last = last

    @classmethod
    def read(cls, value: object) -> Self:
        """From the config; raises ValueError."""
        words = str(value).lower().split(":") if isinstance(value, str | int) else []
        try:
            first, last = (cls._number(words[0]), cls._number(words[-1])) if 1 <= len(words) <= 2 else (1, 0)
            cls._check(first, last)
        except ValueError as error:
            reason = f" ({error})" if str(error) else ""
            raise ValueError(f'expected a range such as {cls.example}, got "{value}"{reason}') from None
        return cls(first, last)

    def holds(self, number: int) -> bool:
        """Whether it is within."""
        return self.first <= number <= self.last

    @classmethod
    def _number(cls, word: str) -> int:
        if not re.fullmatch(r"[-+]?[0-9]{1,9}", word, re.ASCII):
            raise ValueError
        return int(word)

    @classmethod
    def _check(cls, first: int, last: int) -> None:
        if first > last:
            raise ValueError("the end is before the start: write two ranges")


class Weekdays(Range):
    """Days of the week from sunday (0) on: `monday:friday`; a range over the week's end is two."""

    example = "monday:friday"

    @classmethod
    def _number(cls, word: str) -> int:
        if word not in _WEEKDAYS:
            raise ValueError
        return _WEEKDAYS.index(word)


class Months(Range):
    """Months by name or number: `january:march` or `1:3`; a range over the year's end is two."""

    example = "january:march"

    @classmethod
    def _number(cls, word: str) -> int:
        return _MONTHS.index(word) if word in _MONTHS[1:] else super()._number(word)

    @classmethod
    def _check(cls, first: int, last: int) -> None:
        super()._check(first, last)
        if first < 1 or last > 12:
            raise ValueError("months go from 1 to 12")


class DaysOfMonth(Range):
    """Days 1 to 31, or from the month's end backwards from -1: `1:5`, `-3:-1`."""

    example = "1:5 or -3:-1"

    @classmethod
    def _check(cls, first: int, last: int) -> None:
        if not all(1 <= abs(day) <= 31 for day in (first, last)):
            raise ValueError("days go from 1 to 31 or from -31 to -1")
        if first < 0 < last:
            raise ValueError("the end must be negative if the start is")
        # The shortest month decides what can never hold.
        if (first if first > 0 else 28 + first) > (last if last > 0 else 28 + last):
            raise ValueError("the end is before the start: write two ranges")

    def holds_day(self, day: int, length: int) -> bool:
        """Whether the `day` of a month of `length` days is within; ends beyond the month count as its last day."""
        first, last = (edge if edge > 0 else length + edge + 1 for edge in (self.first, self.last))
        return first <= day <= last


class TimeRange(Section, frozen=True):
    """From `start_time` up to, not including, `end_time`, each `HH:MM`; over midnight it is two."""

    start_time: str
    end_time: str

    def __post_init__(self) -> None:
        for name, text in (("start_time", self.start_time), ("end_time", self.end_time)):
            if not _TIME.fullmatch(text):
                raise ValueError(f'{name}: expected a time such as 09:00, up to 24:00, got "{text}"')
        if _minutes(self.start_time) >= _minutes(self.end_time):
            raise ValueError(
                f"end_time: expected a time after {self.start_time}, got {self.end_time}"
                f" (over midnight write two: {self.start_time} to 24:00, 00:00 to {self.end_time})"
            )

    def holds(self, minute: int) -> bool:
        """Whether a minute of the day is within."""
        return _minutes(self.start_time) <= minute < _minutes(self.end_time)


class TimeInterval(Section, frozen=True):
    """Moments that fulfil every field that is given, by the clock and the calendar of `location` (else UTC)."""

    times: tuple[TimeRange, ...] | None = None
    weekdays: tuple[Weekdays, ...] | None = None
    days_of_month: tuple[DaysOfMonth, ...] | None = None
    months: tuple[Months, ...] | None = None
    years: tuple[Range, ...] | None = None
    location: str = "UTC"

    def __post_init__(self) -> None:
        for name in ("times", "weekdays", "days_of_month", "months", "years"):
            if getattr(self, name) == ():
                raise ValueError(f"{name}: expected at least one, or leave the key out for any")
        _zone(self.location)

    def holds(self, moment: datetime) -> bool:
        """Whether `moment`, with a time zone of any kind, is in it."""
        here = moment.astimezone(_zone(self.location))
        length = calendar.monthrange(here.year, here.month)[1]
        minute, weekday = here.hour * 60 + here.minute, here.isoweekday() % 7
        return (
            (self.times is None or any(times.holds(minute) for times in self.times))
            and (self.weekdays is None or any(days.holds(weekday) for days in self.weekdays))
            and (self.days_of_month is None or any(days.holds_day(here.day, length) for days in self.days_of_month))
            and (self.months is None or any(months.holds(here.month) for months in self.months))
            and (self.years is None or any(years.holds(here.year) for years in self.years))
        )


class NamedIntervals(Section, frozen=True):
    """An entry of `time_intervals`: a name for moments that are in any of these intervals."""

    name: str
    time_intervals: tuple[TimeInterval, ...]

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("name: expected a text such as office-hours, got an empty one")

    def holds(self, moment: datetime) -> bool:
        """Whether a moment is in one of them."""
        return any(interval.holds(moment) for interval in self.time_intervals)


class Calendar:
    """The named intervals, asked at a time in Unix seconds. Used by any thread."""

    def __init__(self, intervals: Sequence[NamedIntervals] = ()) -> None:
        self._intervals: Mapping[str, NamedIntervals] = {one.name: one for one in intervals}
        # A storm asks the same all the time; intervals change at full minutes only.
        self._quiet_until = functools.lru_cache(maxsize=1024)(self._search)

    def quiet_until(self, active: tuple[str, ...], mute: tuple[str, ...], at: float) -> float:
        """Until when a route with these intervals tells nothing, to be asked again then; 0 when it tells at `at`.

        It tells in one of its active intervals, if it has any, and in none of its mute ones.
        """
        return self._quiet_until(active, mute, int(at // 60)) if active or mute else 0.0

    def _search(self, active: tuple[str, ...], mute: tuple[str, ...], minute: int) -> float:
        if self._tells(active, mute, minute):
            return 0.0
        later = (minute + ahead for ahead in range(1, _DAY_MINUTES))
        return 60.0 * next((one for one in later if self._tells(active, mute, one)), minute + _DAY_MINUTES)

    def _tells(self, active: tuple[str, ...], mute: tuple[str, ...], minute: int) -> bool:
        moment = datetime.fromtimestamp(minute * 60, UTC)
        if active and not any(self._intervals[name].holds(moment) for name in active):
            return False
        return not any(self._intervals[name].holds(moment) for name in mute)


def _minutes(time: str) -> int:
    hours, minutes = time.split(":")
    return int(hours) * 60 + int(minutes)


def _zone(location: str) -> tzinfo | None:
    """None is this machine's own."""
    return None if location == "Local" else zone(location or "UTC", "location")
