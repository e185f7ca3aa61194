from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable

from prometheus_client.core import Metric

from cloudpulse import names
from cloudpulse.testing import captured_logs
from exporter.collector import Host
from exporter.families import Family, one


class _Flaky:
    """Yields one family, then fails when told."""

    def __init__(self) -> None:
        self.fails = True

    def collect(self) -> Iterable[Metric]:
        yield one(names.LOAD1, 1.0)
        if self.fails:
            raise RuntimeError("no such file")


class _Fine:
    def collect(self) -> Iterable[Metric]:
        yield one(names.BOOT_TIME, 5.0)


def _seconds_apart() -> Callable[[], float]:
    """A clock by which no two scrapes come close enough together to share a read."""
    ticks = itertools.count(0.0, 1.0)
    return lambda: next(ticks)


def _scrape(host: Host) -> dict[str, dict[str, float]]:
    return {
        family.name: {sample.labels.get("collector", ""): sample.value for sample in family.samples}
        for family in host.collect(10.0)
    }


def test_a_failing_collector_costs_only_its_own_series() -> None:
    page = _scrape(Host({"flaky": _Flaky(), "fine": _Fine()}))
    assert page[names.BOOT_TIME.name] == {"": 5.0}
    assert page[names.COLLECTOR_SUCCESS.name] == {"flaky": 0.0, "fine": 1.0}


def test_what_a_collector_read_before_it_failed_is_not_shown() -> None:
    assert names.LOAD1.name not in _scrape(Host({"flaky": _Flaky()}))


def test_the_duration_of_each_collector_is_shown_even_when_it_fails() -> None:
    page = _scrape(Host({"flaky": _Flaky(), "fine": _Fine()}, _seconds_apart()))
    assert page[names.COLLECTOR_DURATION.name] == {"flaky": 1.0, "fine": 1.0}


def test_a_failure_is_logged_once_until_the_collector_has_worked_again() -> None:
    flaky = _Flaky()
    host = Host({"flaky": flaky}, _seconds_apart())
    with captured_logs() as lines:
        for fails in (True, True, True, False, False, True):
            flaky.fails = fails
            _scrape(host)
    assert [line["level"] for line in lines] == ["error", "info", "error"]
    assert lines[0]["collector"] == "flaky"
    assert lines[0]["error"] == "no such file"


def test_outcomes_are_those_of_the_last_scrape() -> None:
    flaky = _Flaky()
    host = Host({"flaky": flaky, "fine": _Fine()}, _seconds_apart())
    assert host.outcomes == {}
    _scrape(host)
    assert host.outcomes == {"flaky": False, "fine": True}
    flaky.fails = False
    _scrape(host)
    assert host.outcomes == {"flaky": True, "fine": True}


class _Waiting:
    """Yields what it read once it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()
        self.calls = 0

    def collect(self) -> Iterable[Family]:
        self.calls += 1
        call = self.calls
        self.begun.set()
        assert self.go.wait(20)
        yield one(names.LOAD1, float(call))


def test_a_hanging_collector_costs_only_its_own_series_and_is_asked_once() -> None:
    hanging = _Waiting()
    host = Host({"first": _Fine(), "hanging": hanging, "fine": _Fine()})
    for _ in range(3):
        page = {family.name: family.samples for family in host.collect(0.05)}
        assert names.LOAD1.name not in page
        assert [s.value for s in page[names.COLLECTOR_SUCCESS.name]] == [1.0, 0.0, 1.0]
        assert page[names.COLLECTOR_DURATION.name][1].value > 0
        assert len([f for f in host.collect(0.05) if f.name == names.BOOT_TIME.name]) == 2
    assert hanging.calls == 1
    assert host.outcomes == {"first": True, "hanging": False, "fine": True}
    hanging.go.set()


def test_what_a_collector_says_too_late_is_never_shown() -> None:
    hanging = _Waiting()
    host = Host({"hanging": hanging}, _seconds_apart())
    list(host.collect(0.02))
    hanging.go.set()
    values = _polled(host)
    assert values == {"": 2.0}
    assert host.outcomes == {"hanging": True}


def test_a_collector_that_hung_is_not_begun_again_by_a_reload_while_it_hangs() -> None:
    hanging = _Waiting()
    host = Host({"hanging": hanging}, _seconds_apart())
    list(host.collect(0.02))
    host.use({"hanging": _Fine()})
    assert _scrape(host)[names.COLLECTOR_SUCCESS.name] == {"hanging": 0.0}
    hanging.go.set()
    assert _polled(host, names.BOOT_TIME.name) == {"": 5.0}


def test_a_scrape_after_a_reload_shows_the_new_collectors() -> None:
    host = Host({"waiting": (waiting := _Waiting()), "gone": _Fine()})
    waiting.go.set()
    assert _scrape(host)[names.LOAD1.name] == {"": 1.0}
    host.use({"waiting": _Fine()})
    page = _scrape(host)
    assert names.LOAD1.name not in page
    assert host.outcomes == {"waiting": True}


def test_only_the_chosen_collectors_are_read() -> None:
    waiting = _Waiting()
    host = Host({"waiting": waiting, "fine": _Fine()})
    page = {family.name: len(family.samples) for family in host.collect(10.0, {"fine"})}
    assert waiting.calls == 0
    assert page == {names.BOOT_TIME.name: 1, names.COLLECTOR_DURATION.name: 1, names.COLLECTOR_SUCCESS.name: 1}


def test_a_collector_that_is_not_done_in_time_is_logged_once_until_it_works_again() -> None:
    hanging = _Waiting()
    host = Host({"hanging": hanging}, _seconds_apart())
    with captured_logs() as lines:
        for _ in range(3):
            list(host.collect(0.02))
        hanging.go.set()
        _polled(host)
    assert [line["level"] for line in lines] == ["error", "info"]
    assert lines[0]["collector"] == "hanging"
    assert "no answer for" in lines[0]["error"]


def _polled(host: Host, name: str = names.LOAD1.name) -> dict[str, float]:
    """The series once it is shown."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        page = _scrape(host)
        if name in page:
            return page[name]
        time.sleep(0.01)
    raise AssertionError(f"{name} was never shown")
