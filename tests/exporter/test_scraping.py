"""Real exporter processes with a collector that hangs in the kernel, on a pipe that nobody writes to."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from cloudpulse import names
from exporter.app import timeout_seconds

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")

HANGING = """
import sys
from exporter.collectors.load import LoadCollector

real = LoadCollector.collect

def collect(self):
    open(sys.argv[1]).read()
    return list(real(self))

LoadCollector.collect = collect
from exporter.__main__ import command
command(["--config", sys.argv[2], "--web.listen-address", "127.0.0.1:0"])
"""
IMPATIENT = {"X-Prometheus-Scrape-Timeout-Seconds": "1"}


@contextlib.contextmanager
def _running(place: Path) -> Iterator[tuple[int, str, Path]]:
    """An exporter that waits ten minutes unless told: its pid, its URL, and the pipe that its load waits for."""
    pipe, config = place / "pipe", place / "cloudpulse.yaml"
    os.mkfifo(pipe)
    config.write_text("exporter: {timeout: 10m}\n")
    with (place / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", HANGING, str(pipe), str(config)],
            env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": ""},
            stderr=log,
        )
        try:
            yield process.pid, _url(place / "log"), pipe
        finally:
            process.kill()
            process.wait(10)


def _url(log: Path) -> str:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if found := re.search(r"http://[0-9.:]+", log.read_text()):
            return found[0]
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def _scrape(url: str, query: str = "") -> list[Sample]:
    with urllib.request.urlopen(
        urllib.request.Request(f"{url}/metrics{query}", headers=IMPATIENT), timeout=60
    ) as answer:
        page = answer.read().decode()
    return [sample for family in text_string_to_metric_families(page) for sample in family.samples]


def _succeeded(samples: list[Sample]) -> dict[str, float]:
    return {s.labels["collector"]: s.value for s in samples if s.name == names.COLLECTOR_SUCCESS.name}


def _threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads by /proc")
def test_forty_scrapes_of_a_host_that_hangs_show_all_the_rest_and_it_recovers(tmp_path: Path) -> None:
    with _running(tmp_path) as (pid, url, pipe), ThreadPoolExecutor(40) as pool:
        for samples in pool.map(lambda _: _scrape(url), range(40)):
            succeeded = _succeeded(samples)
            assert succeeded.pop("load") == 0.0
            assert set(succeeded.values()) == {1.0}
            shown = {sample.name for sample in samples}
            assert {names.CPU_SECONDS.name, names.MEMORY_TOTAL.name, names.TIME.name} <= shown
            assert names.LOAD1.name not in shown
        threads = _threads(pid)
        for samples in pool.map(lambda _: _scrape(url), range(80)):
            assert _succeeded(samples)["load"] == 0.0
        assert _threads(pid) <= threads

        with pipe.open("w"):
            pipe.unlink()
            pipe.write_text("a file by now")
        deadline = time.monotonic() + 20
        while names.LOAD1.name not in {sample.name for sample in _scrape(url)}:
            assert time.monotonic() < deadline, "the collector never came back"
            time.sleep(0.05)
    log = (tmp_path / "log").read_text()
    assert log.count("collector not done in time") == 1
    assert log.count("collector works again") == 1


def test_a_scrape_that_does_not_ask_for_what_hangs_is_not_held_up(tmp_path: Path) -> None:
    with _running(tmp_path) as (_, url, _):
        assert _succeeded(_scrape(url, "?collect[]=cpu&collect[]=clock")) == {"cpu": 1.0, "clock": 1.0}
        with pytest.raises(urllib.error.HTTPError) as refused:
            _scrape(url, "?collect[]=gpu")
        assert refused.value.code == 400
        assert "gpu" in refused.value.read().decode()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 8.0),
        ("5", 4.5),
        ("2.5", 2.0),
        ("1e0", 0.5),
        ("0.5", 0.25),
        ("0.1", 0.05),
        ("600", 8.0),
        ("", 8.0),
        ("soon", 8.0),
        ("0", 8.0),
        ("-3", 8.0),
        ("nan", 8.0),
        ("inf", 8.0),
        ("5, 5", 8.0),
    ],
)
def test_prometheus_says_how_long_a_scrape_may_take_and_the_config_how_long_at_most(
    header: str | None, seconds: float
) -> None:
    environ = {} if header is None else {"HTTP_X_PROMETHEUS_SCRAPE_TIMEOUT_SECONDS": header}
    assert timeout_seconds(environ, 8.0) == pytest.approx(seconds)
