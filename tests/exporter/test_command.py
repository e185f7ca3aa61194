"""The command as a process of its own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest

COMMAND = ("-m", "cloudpulse", "exporter", "--web.listen-address", "127.0.0.1:0")
HEAVY = (
    *(
        "asyncio",
        "cheroot",
        "cryptography",
        "email",
        "encodings.idna",
        "flask",
        "http",
        "importlib.metadata",
        "logging.config",
    ),
    *("matplotlib", "numpy", "opentelemetry", "pandas", "prometheus_client", "prophet", "requests", "rich", "scipy"),
    *("socketserver", "ssl", "structlog", "subprocess", "torch", "unicodedata", "urllib.request", "yaml"),
)
"""What would take the exporter over its 30 MiB and 300 ms, little by little: TLS, a config file and the text of
an error load what they need when they need it."""


@contextlib.contextmanager
def _running(place: Path, *, command: Sequence[str] = COMMAND) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`cloudpulse exporter` on a free port: the process, and its URL."""
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=place,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": ""},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        said = ""
        while not (found := re.search(r"url=(http://\S+)", said)):  # an exporter without root says more before
            line = process.stderr.readline()
            assert line, said
            said += line
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
        "import sys, cloudpulse.cli, exporter.__main__\n"
        "from cloudpulse.reloading import Reload\n"
        "from cloudpulse.serving import Server\n"
        "from exporter.app import Exporter, create_face\n"
        "from exporter.config import ExporterSettings\n"
        "exporter = Exporter(ExporterSettings)\n"
        "face = create_face(exporter, Reload(exporter.apply, float), lifecycle=True)\n"
        "page = b''.join(face({'PATH_INFO': '/metrics', 'REQUEST_METHOD': 'GET'}, lambda *_: None))\n"
        "assert b'cloudpulse_node_load1' in page and b'process_open_fds' in page\n"
        "Server(face, '127.0.0.1:0').close()\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    return frozenset(done.stdout.split())


def test_the_list_of_loaded_modules_is_real(loaded: frozenset[str]) -> None:
    assert {"cloudpulse.reception", "exporter.app", "exporter.linux"} <= loaded


only_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become somebody else"
)
# Everything is imported before root is given up: who runs the tests may keep Python in a folder of root's alone.
NOBODY = (
    "import os, encodings.ascii, exporter.__main__, exporter.app, cloudpulse.cli as cli\n"
    "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
    "cli.cloudpulse = lambda: exporter.__main__.command(['--web.listen-address', '127.0.0.1:0'])\n"
    "cli.main()"
)


@only_root
def test_it_needs_no_root() -> None:
    with _running(Path("/"), command=["-c", NOBODY]) as (process, url):
        page = _get(f"{url}/metrics")
        assert psutil.Process(process.pid).uids().real == 65534
    outcomes = [line.split() for line in page.splitlines() if line.startswith("cloudpulse_exporter_collector_success")]
    assert "cloudpulse_node_cpu_seconds_total{" in page
    assert "process_resident_memory_bytes " in page
    assert len(outcomes) > 5
    assert [name for name, value in outcomes if float(value) != 1] == []


@only_root
def test_a_folder_that_it_may_not_enter_is_a_wrong_config_and_no_traceback(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    done = subprocess.run(
        [sys.executable, "-c", NOBODY],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "cloudpulse: cloudpulse.yaml: can't read the config: Permission denied\n"
