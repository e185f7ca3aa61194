import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from alert_bridge.intervals import Calendar, NamedIntervals, TimeInterval
from cloudpulse import config
from cloudpulse.config import Section
from cloudpulse.errors import ConfigError

AMTOOL = shutil.which("amtool") or "amtool"


class One(Section, frozen=True):
    """Stands for the section around the intervals."""

    time_intervals: tuple[NamedIntervals, ...]


def interval(text: str) -> TimeInterval:
    """From flow YAML, as a config has it."""
    lines = f"alert_bridge: {{time_intervals: [{{name: it, time_intervals: [{text}]}}]}}"
    found = config.parse(lines, Path("c.yaml"), {}).section("alert_bridge", One)
    return found.time_intervals[0].time_intervals[0]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "within", "outside"),
    [
        ("{}", ["2026-11-24 13:00"], []),
        (
            "{times: [{start_time: 09:00, end_time: 17:00}], weekdays: ['monday:friday']}",
            ["2026-11-24 09:00", "2026-11-24 16:59:59", "2026-11-27 12:00"],
            ["2026-11-24 08:59:59", "2026-11-24 17:00", "2026-11-28 12:00", "2026-11-29 12:00"],
        ),
        (
            "{times: [{start_time: '00:00', end_time: '06:00'}, {start_time: 22:00, end_time: 24:00}]}",
            ["2026-11-24 00:00", "2026-11-24 22:00", "2026-11-24 23:59:59"],
            ["2026-11-24 06:00", "2026-11-24 21:59"],
        ),
        ("{weekdays: [Sunday, saturday]}", ["2026-11-28 01:00", "2026-11-29 01:00"], ["2026-11-30 01:00"]),
        (
            "{days_of_month: [1:5, '-3:-1']}",
            ["2026-02-01 00:00", "2026-02-05 23:59", "2026-02-26 00:00", "2028-02-29 00:00", "2026-01-29 00:00"],
            ["2026-02-06 00:00", "2026-02-25 23:59", "2028-02-26 00:00", "2026-01-28 00:00"],
        ),
        ("{days_of_month: [31]}", ["2026-01-31 00:00"], ["2026-02-28 00:00", "2026-04-30 00:00"]),
        ("{days_of_month: ['29:31']}", ["2028-02-29 12:00", "2026-04-30 12:00"], ["2026-02-28 12:00"]),
        ("{days_of_month: ['-31']}", ["2026-01-01 12:00"], ["2026-02-01 12:00", "2026-04-01 12:00"]),
        ("{days_of_month: ['5:-5']}", ["2026-02-24 00:00"], ["2026-02-25 00:00", "2026-02-04 00:00"]),
        ("{months: [January:march, 12]}", ["2026-03-31 23:59", "2026-12-01 00:00"], ["2026-04-01 00:00"]),
        ("{years: [2026, 2028:2030]}", ["2026-01-01 00:00", "2029-06-01 00:00"], ["2025-12-31 23:59"]),
        (
            "{times: [{start_time: 09:00, end_time: 17:00}], location: Europe/Berlin}",
            ["2026-11-24 08:00", "2026-07-24 07:00", "2026-07-24 14:59"],
            ["2026-11-24 07:59", "2026-07-24 15:00", "2026-11-24 16:00"],
        ),
        (
            "{weekdays: [monday], location: Pacific/Auckland}",
            ["2026-11-29 11:00", "2026-11-30 10:59"],
            ["2026-11-29 10:59", "2026-11-30 11:00"],
        ),
    ],
)
def test_an_interval_holds_when_all_of_its_fields_do(text, within, outside):
    found = interval(text)
    assert [moment for moment in within if not found.holds(utc(moment))] == []
    assert [moment for moment in outside if found.holds(utc(moment))] == []


def test_clocks_that_change_skip_an_hour_and_tell_one_twice():
    """Europe/Berlin, 2026: 29 March 2:00 becomes 3:00, 25 October 3:00 becomes 2:00."""
    found = interval("{times: [{start_time: 02:00, end_time: 03:00}], location: Europe/Berlin}")

    def minutes(day: str) -> int:
        return sum(found.holds(utc(day) + timedelta(minutes=minute)) for minute in range(1440))

    assert (minutes("2026-03-28 12:00"), minutes("2026-10-24 12:00"), minutes("2026-06-01 12:00")) == (0, 120, 60)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{times: [{start_time: 22:00, end_time: 06:00}]}", r"over midnight write two: 22:00 to 24:00, 00:00 to 06:00"),
        ("{times: [{start_time: 9:00, end_time: 10:00}]}", 'times.0.: start_time: expected a time .*got "9:00"'),
        ("{times: [{start_time: 09:00, end_time: 24:01}]}", "end_time: expected a time"),
        ("{times: []}", "times: expected at least one"),
        ("{weekdays: [sat]}", r'weekdays\[0\]: expected a range such as monday:friday, got "sat"'),
        ("{weekdays: ['saturday:sunday']}", "the end is before the start: write two ranges"),
        ("{weekdays: [monday:tuesday:friday]}", "expected a range"),
        ("{days_of_month: [0]}", "days go from 1 to 31 or from -31 to -1"),
        ("{days_of_month: ['-31:2']}", "the end must be negative if the start is"),
        ("{days_of_month: ['-1:-3']}", "the end is before the start"),
        ("{months: [13]}", "months go from 1 to 12"),
        ("{months: ['november:january']}", "write two ranges"),
        ("{years: [soon]}", 'expected a range such as 2024:2026, got "soon"'),
        ("{location: Europe/Atlantis}", 'location: expected an IANA name such as Europe/Berlin, got "Europe/Atlantis"'),
        ("{location: ../../etc/passwd}", "location: expected an IANA name"),
        ("{hours: 3}", "unknown key `hours`"),
    ],
)
def test_what_can_never_be_is_refused_with_its_place(text, message):
    with pytest.raises(ConfigError, match=message):
        interval(text)


NUMBERS = st.integers(-32, 32).map(str)
WORDS = st.sampled_from(["monday", "Friday", "sunday", "january", "DECEMBER", "12", "13", "0", "2026", "2020", ""])
MEMBERS = st.one_of(NUMBERS, WORDS)
RANGES = st.lists(st.one_of(MEMBERS, st.tuples(MEMBERS, MEMBERS).map(":".join)), min_size=1, max_size=2)
TIMES = st.sampled_from(["00:00", "06:30", "17:00", "23:59", "24:00", "9:00", "24:01", "12:60"])
WRITTEN = st.fixed_dictionaries(
    {},
    optional={
        "times": st.lists(st.fixed_dictionaries({"start_time": TIMES, "end_time": TIMES}), min_size=1, max_size=2),
        "weekdays": RANGES,
        "days_of_month": RANGES,
        "months": RANGES,
        "years": RANGES,
        "location": st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Europe/Atlantis"]),
    },
)


def test_alertmanager_accepts_what_we_do(tmp_path):
    """By its amtool. It also takes months beyond 12 and ranges of years that no one lives in; those we refuse."""
    drawn: list[dict[str, object]] = []

    @settings(max_examples=300, database=None, derandomize=True, deadline=None)
    @given(st.sampled_from(list("tdwmyl")), WRITTEN)
    def draw(_, written):
        drawn.append(written)

    draw()
    # One field at a time, so that a right one isn't hidden behind a wrong one.
    single = [{name: value} for written in drawn for name, value in written.items()]
    unique = list({yaml.safe_dump(one): one for one in single}.values())
    ours = []
    for number, one in enumerate(unique):
        whole = {
            "route": {"receiver": "r", "routes": [{"receiver": "r", "mute_time_intervals": ["it"]}]},
            "receivers": [{"name": "r"}],
            "time_intervals": [{"name": "it", "time_intervals": [one]}],
        }
        (tmp_path / f"{number}.yml").write_text(yaml.safe_dump(whole), encoding="utf-8")
        try:
            interval(yaml.safe_dump(one, default_flow_style=True).strip())
            ours.append(True)
        except ConfigError:
            ours.append(False)
    files = [str(tmp_path / f"{number}.yml") for number in range(len(unique))]
    told = subprocess.run([AMTOOL, "check-config", *files], capture_output=True, text=True, check=False).stdout
    theirs = ["SUCCESS" in part for part in told.split("Checking '")[1:]]
    assert len(theirs) == len(unique)
    differing = [one for one, mine, other in zip(unique, ours, theirs, strict=True) if mine != other]
    assert [one for one in differing if set(one) != {"months"}] == []
    assert 20 < sum(theirs) < len(theirs) - 20


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2 * 525_600 * 60), st.sampled_from(["UTC", "Asia/Kathmandu", "Local"]))
def test_a_mute_route_is_looked_at_again_in_the_minute_in_which_it_tells(seconds, location):
    times = "[{start_time: 22:00, end_time: 24:00}, {start_time: '00:00', end_time: '06:00'}]"
    night = interval(f"{{times: {times}, location: {location}}}")
    calendar = Calendar([NamedIntervals(name="night", time_intervals=(night,))])
    moment = utc("2026-01-01") + timedelta(seconds=seconds)
    at = moment.timestamp()
    until = calendar.quiet_until((), ("night",), at)
    if until == 0:
        assert not night.holds(moment)
    else:
        assert until % 60 == 0
        assert 0 < until - at <= 8 * 3600
        assert calendar.quiet_until((), ("night",), until) == 0
        assert calendar.quiet_until((), ("night",), until - 1) == until


def test_a_route_tells_in_any_of_its_active_intervals_and_in_none_of_its_mute_ones():
    def named(name, months):
        return NamedIntervals(name=name, time_intervals=(interval(f"{{months: ['{months}']}}"),))

    calendar = Calendar([named("spring", "3:5"), named("autumn", "9:11"), named("may", "5")])

    def quiet(active, mute, moment):
        return calendar.quiet_until(active, mute, utc(moment).timestamp()) > 0

    assert not quiet(("spring", "autumn"), (), "2026-10-01")
    assert quiet(("spring", "autumn"), (), "2026-07-01")
    assert quiet(("spring",), ("may",), "2026-05-01")
    assert not quiet(("spring",), ("may",), "2026-04-01")
    assert not quiet((), ("may",), "2026-07-01")


def test_what_stays_mute_for_long_is_looked_at_again_a_day_later():
    calendar = Calendar([NamedIntervals(name="may", time_intervals=(interval("{months: [may]}"),))])
    at = utc("2026-05-10 12:00").timestamp()
    assert calendar.quiet_until((), ("may",), at) == at + 86400
