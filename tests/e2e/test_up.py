"""`cloudpulse up --demo` as a newcomer runs it: one terminal, and nothing left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from cloudpulse.local import ports
from tests.e2e.conftest import free_ports

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(200)]


def up(data_dir: Path, taken: dict[str, int], **environment: str) -> subprocess.Popen[str]:
    options = [f"--port={name}={port}" for name, port in taken.items()]
    return subprocess.Popen(
        [sys.executable, "-m", "cloudpulse", "up", "--demo", "--data-dir", str(data_dir), *options],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "100", **environment},
    )


def test_up_shows_forecasts_within_90_seconds_and_leaves_nothing_running(tmp_path: Path) -> None:
    taken = dict(zip(ports.DEFAULTS, free_ports(len(ports.DEFAULTS)), strict=True))
    began = time.monotonic()
    process = up(tmp_path, taken)
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("nasa"):
            break
    seconds = time.monotonic() - began
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 6
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait(30) == 0, rest
    assert seconds < 90
    assert lines[0].startswith("CloudPulse: starting")
    text = "".join(lines)
    for name, port in taken.items():
        if name not in ("demo", "keda"):  # nothing to open in a browser
            assert f"localhost:{port}" in text, f"the table has the URL of {name}"
    assert "forecast demand" in text
    assert rest.endswith("everything is stopped\n")
    assert psutil.wait_procs(children, timeout=5)[1] == []


def test_a_taken_port_is_named_with_its_owner(tmp_path: Path) -> None:
    taken = dict(zip(ports.DEFAULTS, free_ports(len(ports.DEFAULTS)), strict=True))
    with socket.create_server(("127.0.0.1", taken["scaler"])):
        process = up(tmp_path, taken)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"{taken['scaler']} (scaler) by" in error
    assert f"(process {os.getpid()})" in error


def test_missing_programs_are_all_named(tmp_path: Path) -> None:
    process = up(tmp_path, {}, PATH=str(tmp_path))
    _, error = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "not on PATH: prometheus, promtool, alertmanager" in error
    assert "docker compose up" in error
