"""KEDA's port as part of a `cloudpulse scaler` process: served, reloaded, stopped."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from ssl import create_default_context

import grpc
import pytest

from cloudpulse.testing import serving
from tests.scaler.keda.conftest import Keda
from tests.scaler.test_process import FakePrometheus, _free_port, _until


@contextlib.contextmanager
def _scaler(
    folder: Path, prometheus: str, keda: str
) -> Iterator[tuple[subprocess.Popen[str], Callable[[], dict[str, object]]]]:
    _configure(folder, prometheus, keda, "ahead")
    port = _free_port()
    argv = [sys.executable, "-m", "cloudpulse", "scaler", "--config", str(folder / "c.yaml"), "--log-format", "json"]
    process = subprocess.Popen(
        [*argv, "--web.listen-address", f"127.0.0.1:{port}"], stderr=(folder / "log").open("w"), text=True
    )

    def health() -> dict[str, object]:
        try:
            context = create_default_context(cafile=str(folder / "data" / "tls.crt"))
            with urllib.request.urlopen(f"https://localhost:{port}/health", context=context, timeout=5) as response:
                facts: dict[str, object] = json.load(response)
                return facts
        except OSError:
            return {}

    try:
        yield process, health
    finally:
        process.kill()
        process.wait(10)


def _configure(folder: Path, prometheus: str, keda: str, name: str) -> None:
    (folder / "c.yaml").write_text(f"""
prometheus: {{url: {prometheus}}}
scaler:
  data_dir: {folder / "data"}
  interval: 1s
  metrics:
    - {{name: {name}, api: external, forecast: web_rps, horizon: 15m, floor: none, resource: {{namespace: namespace}}}}
  auth: {{anonymous: true}}
  keda: {{listen: '{keda}'}}
""")


def test_the_process_answers_keda_takes_new_rules_and_ends_open_streams_on_sigterm(tmp_path: Path) -> None:
    address = f"127.0.0.1:{_free_port()}"
    with (
        serving(FakePrometheus()) as url,
        _scaler(tmp_path, url, address) as (process, health),
        grpc.insecure_channel(address) as channel,
    ):
        _until(lambda: health().get("ready") is True)
        assert health()["keda"] == f"served on {address}"
        keda = Keda(channel)
        assert keda.metrics() == 1234.5

        _configure(tmp_path, url, address, "renamed")
        process.send_signal(signal.SIGHUP)
        renamed = keda.asking(metricName="renamed")

        def answered() -> bool:
            try:
                return renamed.metrics() == 1234.5
            except grpc.RpcError:
                return False

        _until(answered)

        _configure(tmp_path, url, f"127.0.0.1:{_free_port()}", "renamed")
        process.send_signal(signal.SIGHUP)
        _until(lambda: "scaler.tls, scaler.keda and scaler.auth's mode" in (tmp_path / "log").read_text())

        stream = renamed.stream()
        assert next(stream) is True
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert list(stream) == []
        assert process.wait(10) == 0
        assert time.monotonic() - began < 10
    audit = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines() if '"answered"' in line]
    assert {line["api"] for line in audit} == {"keda"}


@pytest.mark.parametrize(
    ("listen", "exit_code", "why"), [(":9814", 2, "say insecure: true"), ("taken", 1, "can't listen")]
)
def test_a_port_that_cannot_be_served_ends_the_start_with_the_reason(
    tmp_path: Path, listen: str, exit_code: int, why: str
) -> None:
    with serving(FakePrometheus()) as url:
        address = url.removeprefix("http://") if listen == "taken" else listen
        with _scaler(tmp_path, url, address) as (process, _):
            assert process.wait(30) == exit_code
    assert why in (tmp_path / "log").read_text()
