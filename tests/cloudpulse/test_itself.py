from __future__ import annotations

import os
import sys

import psutil
import pytest
from prometheus_client import CollectorRegistry, ProcessCollector

from cloudpulse.exposition import encode
from cloudpulse.itself import Itself

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has /proc")


def _values() -> dict[str, float]:
    return {family.sample_name: family.values[0] for family in Itself().collect()}


def test_it_shows_what_prometheus_own_collector_shows() -> None:
    theirs = {s.name: s.value for family in ProcessCollector(registry=None).collect() for s in family.samples}
    ours = _values()
    assert set(ours) == set(theirs)
    assert ours["process_start_time_seconds"] == theirs["process_start_time_seconds"]
    assert ours["process_max_fds"] == theirs["process_max_fds"]
    assert ours["process_virtual_memory_bytes"] == pytest.approx(theirs["process_virtual_memory_bytes"], rel=0.2)
    assert ours["process_resident_memory_bytes"] == pytest.approx(theirs["process_resident_memory_bytes"], rel=0.2)


def test_cpu_seconds_lie_between_two_readings_of_the_system() -> None:
    def used() -> float:
        times = psutil.Process().cpu_times()
        return float(times.user + times.system)

    before, shown, after = used(), _values()["process_cpu_seconds_total"], used()
    assert before <= shown <= after


def test_files_that_are_opened_are_counted() -> None:
    before = _values()["process_open_fds"]
    reader, writer = os.pipe()
    try:
        assert _values()["process_open_fds"] == before + 2
    finally:
        os.close(reader)
        os.close(writer)


def test_a_registry_takes_it() -> None:
    registry = CollectorRegistry()
    registry.register(Itself())
    assert b"# TYPE process_cpu_seconds_total counter" in encode(registry.collect())
