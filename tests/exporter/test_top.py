from __future__ import annotations

import pytest

from cloudpulse import names
from exporter.collectors.top import TopCollector
from exporter.config import TopSettings
from exporter.processes import Process

BOOT = 1_700_000_000.0


class _Host:
    """Processes that a test starts, lets work, and ends; the clock of the ranking."""

    def __init__(self) -> None:
        self.running: dict[int, Process] = {}
        self.now = 1000.0

    def start(self, pid: int, comm: str, cpu: float | None = 0.0, mib: int = 1, started: float = 0.0) -> None:
        self.running[pid] = Process(pid, comm, "running", cpu, mib << 20, BOOT + started)

    def work(self, pid: int, seconds: float) -> None:
        one = self.running[pid]
        self.running[pid] = one._replace(cpu_seconds=(one.cpu_seconds or 0.0) + seconds)

    def top(self, **settings: int) -> TopCollector:
        return TopCollector(
            TopSettings(**settings),
            lambda: list(self.running.values()),
            lambda pid: f"/bin/{self.running[pid].comm} --token s3cret",
            lambda: self.now,
        )


@pytest.fixture
def host() -> _Host:
    return _Host()


def _shown(collector: TopCollector) -> dict[str, dict[str, float]]:
    """Value by name of each family."""
    return {
        family.name.removeprefix("cloudpulse_node_top_"): {s.labels["name"]: s.value for s in family.samples}
        for family in collector.collect()
    }


def _cpu(collector: TopCollector) -> dict[str, float]:
    return _shown(collector)["cpu_seconds"]


def test_processes_of_a_name_are_added_up(host: _Host) -> None:
    host.start(1, "web", cpu=5, mib=10)
    host.start(2, "web", cpu=3, mib=20)
    host.start(3, "db", cpu=1, mib=50)
    assert _shown(host.top()) == {
        "cpu_seconds": {"web": 0.0, "db": 0.0},
        "memory_bytes": {"web": 30 << 20, "db": 50 << 20},
        "processes": {"web": 2.0, "db": 1.0},
    }


def test_the_sum_of_a_name_never_falls(host: _Host) -> None:
    """A sum over the processes that are there would: Prometheus takes that for a restart, and a rate out of nowhere."""
    host.start(1, "web", cpu=500)
    host.start(2, "web", cpu=300)
    collector = host.top()
    assert _cpu(collector) == {"web": 0.0}
    del host.running[1]
    host.work(2, 4)
    assert _cpu(collector) == {"web": 4.0}
    host.start(3, "web", cpu=2, started=60)
    assert _cpu(collector) == {"web": 6.0}


def test_a_restart_of_the_exporter_invents_no_cpu_time(host: _Host) -> None:
    """A counter that falls has restarted from 0, to Prometheus: all that it shows then was spent since."""
    host.start(1, "web", cpu=5000)
    before = host.top()
    _cpu(before)
    host.work(1, 60)
    assert _cpu(before) == {"web": 60.0}
    after = host.top()
    assert _cpu(after) == {"web": 0.0}
    host.work(1, 15)
    assert _cpu(after) == {"web": 15.0}


def test_another_process_with_the_same_pid_begins_at_nothing(host: _Host) -> None:
    host.start(1, "web", cpu=500)
    host.start(7, "other", cpu=1)
    host.start(8, "other", cpu=1)
    collector = host.top()
    _cpu(collector)
    host.start(1, "web", cpu=600, started=4000)
    assert _cpu(collector)["web"] == 600
    host.start(1, "web", cpu=1, started=4000.5)
    assert _cpu(collector)["web"] == 600 + 1


def test_a_clock_that_is_set_makes_no_process_a_new_one(host: _Host) -> None:
    """Starts are known since boot; when the clock is set, all of them move."""
    for pid in range(1, 6):
        host.start(pid, f"p{pid}", cpu=100, started=pid)
    collector = host.top()
    before = _cpu(collector)
    host.running = {pid: one._replace(started=(one.started or 0) + 3600) for pid, one in host.running.items()}
    assert _cpu(collector) == before


def test_what_a_name_spent_while_it_was_not_shown_is_in_its_sum(host: _Host) -> None:
    host.start(1, "busy", cpu=10, mib=2)
    host.start(2, "rare", mib=1)
    collector = host.top(count=1)
    assert _cpu(collector) == {"busy": 0.0}
    host.work(2, 1)
    assert _cpu(collector) == {"busy": 0.0}
    host.work(2, 30)
    assert _cpu(collector) == {"busy": 0.0, "rare": 31.0}  # busy by memory


def test_never_more_names_are_shown_than_asked_for_by_each_measure(host: _Host) -> None:
    for pid in range(1, 500):
        host.start(pid, f"cpu{pid}" if pid % 2 else f"mem{pid}", cpu=pid if pid % 2 else 0, mib=0 if pid % 2 else pid)
    collector = host.top(count=3)
    shown = _shown(collector)
    assert set(shown["processes"]) == {"cpu499", "cpu497", "cpu495", "mem498", "mem496", "mem494"}
    for scrape in range(50):
        host.work(1 + 2 * (scrape % 249), 1000)
        assert len(_cpu(collector)) <= 6


def test_one_busy_scrape_does_not_push_out_what_is_always_busy(host: _Host) -> None:
    host.start(1, "steady")
    host.start(2, "burst")
    collector = host.top(count=1)
    for _ in range(20):
        host.now += 15
        host.work(1, 10)
        _cpu(collector)
    host.now += 15
    host.work(2, 14)
    host.running[2] = host.running[2]._replace(rss_bytes=0)
    assert set(_cpu(collector)) == {"steady"}
    for _ in range(60):
        host.now += 15
        host.work(2, 14)
        names_shown = set(_cpu(collector))
    assert names_shown == {"burst", "steady"}  # steady by memory


def test_a_process_that_we_may_not_look_at_is_left_out(host: _Host) -> None:
    host.start(1, "", cpu=None)
    host.start(2, "web", cpu=1)
    assert _cpu(host.top()) == {"web": 0.0}


def test_a_process_that_renames_itself_counts_for_its_new_name_from_then_on(host: _Host) -> None:
    host.start(1, "sh", cpu=5)
    host.start(2, "sh", cpu=1)
    collector = host.top()
    _cpu(collector)
    host.running[1] = host.running[1]._replace(comm="java")
    host.work(1, 2)
    assert _cpu(collector) == {"sh": 0.0, "java": 2.0}


def test_the_kernels_threads_go_by_what_they_do(host: _Host) -> None:
    host.start(1, "kworker/0:1-events", cpu=2, mib=0)
    host.start(2, "kworker/u8:3", cpu=3, mib=0)
    host.start(3, "a/b", cpu=1)
    assert _shown(host.top())["processes"] == {"kworker": 2.0, "a/b": 1.0}


def test_a_command_line_is_shown_only_when_asked_for(host: _Host) -> None:
    host.start(1, "web", cpu=1)
    assert set(_cpu(host.top())) == {"web"}
    assert set(_cpu(host.top(command_line=True))) == {"/bin/web --token s3cret"}


def test_a_name_is_short_and_printable_whatever_a_process_calls_itself(host: _Host) -> None:
    host.start(1, "\x1b[31m\nr\ufffdd", cpu=1)
    host.start(2, "x" * 5000, cpu=1)
    host.start(3, "", cpu=1)
    assert set(_cpu(host.top())) == {"?[31m?r?d", "x" * 200, "unnamed"}


def test_names_that_are_gone_are_forgotten_in_the_end(host: _Host) -> None:
    collector = host.top()
    for generation in range(30):
        host.running = {}
        for pid in range(100):
            host.start(pid + 1, f"job-{generation}-{pid}", cpu=1, started=generation * 10)
        _cpu(collector)
    assert len(collector._spent) <= 1100


def test_the_series_say_what_the_table_promises(host: _Host) -> None:
    host.start(1, "web", cpu=1)
    kinds = {family.name: family.type for family in host.top().collect()}
    assert kinds == {
        d.name.removesuffix("_total"): d.kind for d in (names.TOP_CPU, names.TOP_MEMORY, names.TOP_PROCESSES)
    }
