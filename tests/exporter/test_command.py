"""The command as a process of its own."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

HEAVY = ("flask", "matplotlib", "numpy", "pandas", "prophet", "requests", "scipy", "torch")


@contextlib.contextmanager
def _running(place: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`cloudpulse exporter` on a free port: the process, and its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cloudpulse", "exporter", "--web.listen-address", "127.0.0.1:0", *options],
        cwd=place,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": ""},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"url=(http://\S+)", line)
        assert found, line + process.stderr.read()
        yield process, found[1]
    finally:
        process.kill()
        process.wait(10)
        assert process.stderr is not None
        process.stderr.close()


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return str(answer.read().decode())


def test_it_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    with _running(tmp_path) as (process, url):
        assert "cloudpulse_node_cpu_seconds_total" in _get(f"{url}/metrics")
        assert _get(f"{url}/-/ready").startswith("CloudPulse exporter is ready")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_a_hangup_reloads_the_config(tmp_path: Path) -> None:
    file = tmp_path / "cloudpulse.yaml"
    file.write_text("exporter: {}\n")
    with _running(tmp_path) as (process, url):
        assert "cloudpulse_node_load1 " in _get(f"{url}/metrics")
        file.write_text("exporter: {collectors: {load: false}}\n")
        process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 5
        while "cloudpulse_node_load1 " in _get(f"{url}/metrics"):
            assert time.monotonic() < deadline, "the reload had no effect"
            time.sleep(0.02)


def test_a_wrong_config_ends_with_exit_code_2_and_one_line(tmp_path: Path) -> None:
    (tmp_path / "cloudpulse.yaml").write_text("exporter: {collector: {}}\n")
    done = subprocess.run(
        [sys.executable, "-m", "cloudpulse", "exporter"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "cloudpulse: cloudpulse.yaml: exporter: unknown key `collector`\n"


@pytest.mark.parametrize("module", HEAVY)
def test_it_imports_nothing_heavy(loaded: frozenset[str], module: str) -> None:
    assert module not in loaded


@pytest.fixture(scope="module")
def loaded() -> frozenset[str]:
    """Every module that a started exporter has loaded."""
    code = (
        "import sys; import cloudpulse.cli; from exporter.app import Exporter; import exporter.__main__ as m;"
        "from exporter.config import ExporterSettings; list(Exporter(ExporterSettings).scrape({}));"
        "print(' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    return frozenset(done.stdout.split())


def test_the_list_of_loaded_modules_is_real(loaded: frozenset[str]) -> None:
    assert {"cloudpulse.reception", "exporter.app", "exporter.linux"} <= loaded
