"""The commands that ask a Prometheus once, against a real one with two weeks of real demand."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from cloudpulse.local import demo, programs
from tests.e2e.conftest import free_ports, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A config whose Prometheus runs."""
    folder = tmp_path_factory.mktemp("commands")
    found = programs.find()
    (port,) = free_ports(1)
    demo.prepare(folder, found, demo.load(), "localhost:1", time.time())
    (folder / "prometheus.yml").write_text("global: {}\n")
    path = folder / "cloudpulse.yaml"
    path.write_text(
        f"prometheus: {{url: 'http://127.0.0.1:{port}'}}\n"
        "forecaster:\n  forecasts:\n"
        "    - {name: demand, query: cloudpulse_demo_requests_per_minute, step: 5m, history: 10d, models: [profile]}\n"
    )
    log = (folder / "log").open("wb")
    process = subprocess.Popen(
        [
            str(found.prometheus),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'prometheus'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=log,
        stderr=log,
    )
    try:
        until(lambda: _ready(port), 30, "Prometheus is ready")
        yield path
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def _ready(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/-/ready", timeout=2).ok
    except requests.RequestException:
        return False


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cloudpulse", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)


def test_check_online_explains_what_a_real_prometheus_answers(config: Path) -> None:
    done = _run("check", "--online", "--config", str(config))
    assert (done.returncode, done.stderr) == (0, "")
    assert '5 series, such as cloudpulse_demo_requests_per_minute{app="' in done.stdout
    assert "10d of 10d asked" in done.stdout
    assert "5m is no finer than the data" in done.stdout


def test_a_backtest_reads_the_past_of_a_real_prometheus(config: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    done = _run("backtest", "--config", str(config), "--origins", "3", "--json", "--html", str(report))
    assert (done.returncode, done.stderr) == (0, "")
    (found,) = json.loads(done.stdout)["forecasts"]
    assert len(found["series"]) == 5
    assert [one["horizon"] for one in found["horizons"]] == ["5m", "15m", "1h", "24h"]
    assert all(one["series"] == 5 and one["mase"] > 0 for one in found["horizons"])
    assert report.read_text().startswith("<!DOCTYPE html>")
