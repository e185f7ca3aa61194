from __future__ import annotations

import itertools
from collections.abc import Iterable

from prometheus_client.core import Metric

from cloudpulse import names
from cloudpulse.testing import captured_logs
from exporter.collector import Host
from exporter.families import one


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


def _scrape(host: Host) -> dict[str, dict[str, float]]:
    return {
        family.name: {sample.labels.get("collector", ""): sample.value for sample in family.samples}
        for family in host.collect()
    }


def test_a_failing_collector_costs_only_its_own_series() -> None:
    page = _scrape(Host({"flaky": _Flaky(), "fine": _Fine()}))
    assert page[names.BOOT_TIME.name] == {"": 5.0}
    assert page[names.COLLECTOR_SUCCESS.name] == {"flaky": 0.0, "fine": 1.0}


def test_what_a_collector_read_before_it_failed_is_not_shown() -> None:
    assert names.LOAD1.name not in _scrape(Host({"flaky": _Flaky()}))


def test_the_duration_of_each_collector_is_shown_even_when_it_fails() -> None:
    ticks = itertools.accumulate(itertools.cycle((0.5, 2.0)))
    page = _scrape(Host({"flaky": _Flaky(), "fine": _Fine()}, seconds=lambda: next(ticks)))
    assert page[names.COLLECTOR_DURATION.name] == {"flaky": 2.0, "fine": 2.0}


def test_a_failure_is_logged_once_until_the_collector_has_worked_again() -> None:
    flaky = _Flaky()
    host = Host({"flaky": flaky})
    with captured_logs() as lines:
        for fails in (True, True, True, False, False, True):
            flaky.fails = fails
            _scrape(host)
    assert [line["level"] for line in lines] == ["error", "info", "error"]
    assert lines[0]["collector"] == "flaky"
    assert lines[0]["error"] == "no such file"


def test_outcomes_are_those_of_the_last_scrape() -> None:
    flaky = _Flaky()
    host = Host({"flaky": flaky, "fine": _Fine()})
    assert host.outcomes == {}
    _scrape(host)
    assert host.outcomes == {"flaky": False, "fine": True}
    flaky.fails = False
    _scrape(host)
    assert host.outcomes == {"flaky": True, "fine": True}
