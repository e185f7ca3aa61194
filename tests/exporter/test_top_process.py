"""Real processes at the top, scraped by a real Prometheus."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from cloudpulse import names
from cloudpulse.families import label_block
from cloudpulse.local import past

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl(2) names a process")

SECONDS = 30
NAME = 'bu"r\\n\né'
"""14 of 15 bytes."""
SHOWN = NAME.replace("\n", "?")
SELECTOR = names.TOP_CPU.name + label_block({"name": SHOWN})
BURN = """
import ctypes, sys
ctypes.CDLL(None).prctl(15, sys.argv[1].encode(), 0, 0, 0)
while True:
    pass
"""


@contextlib.contextmanager
def _exporter(place: Path) -> Iterator[str]:
    """Its host and port. It shows so many names that a busy machine pushes none of ours out."""
    flags = ("--collector.disable-defaults", "--collector.top", "--collector.top.count=100")
    with subprocess.Popen(
        [sys.executable, "-m", "cloudpulse", "exporter", "--web.listen-address", "127.0.0.1:0", *flags],
        cwd=place,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": ""},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            found = re.search(r"http://(\S+)", process.stderr.readline())
            assert found
            yield found[1]
        finally:
            process.kill()


@contextlib.contextmanager
def _burning() -> Iterator[Callable[[], float]]:
    """A process that never rests; ends it when called, and gives the CPU seconds that the kernel counted."""
    process = subprocess.Popen([sys.executable, "-c", BURN, NAME])

    def end() -> float:
        process.kill()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = -os.WTERMSIG(status)
        return usage.ru_utime + usage.ru_stime

    try:
        yield end
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
            process.wait()


def test_what_busy_processes_of_a_name_spend_is_told_by_a_rate_and_never_falls(tmp_path: Path) -> None:
    with _exporter(tmp_path) as target:
        settings = f"""
global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}
scrape_configs: [{{job_name: exporter, static_configs: [{{targets: ["{target}"]}}]}}]
"""
        with past.prometheus([f"past 1 {int(time.time())}\n# EOF\n"], tmp_path, settings) as prometheus:

            def asked(query: str) -> float | None:
                answer = requests.get(f"{prometheus}/api/v1/query", params={"query": query}, timeout=5).json()
                assert answer["status"] == "success", answer
                values = [float(series["value"][1]) for series in answer["data"]["result"]]
                return values[0] if values else None

            def until(query: str, least: float) -> float:
                deadline = time.monotonic() + SECONDS
                while (value := asked(query)) is None or value < least:
                    assert time.monotonic() < deadline, f"{query}: {value}"
                    time.sleep(0.05)
                return value

            until("cloudpulse_exporter_collector_success", 1)
            with _burning() as end:
                until(f"topk(3, rate({SELECTOR}[5s]))", 0.01)
                told = until(SELECTOR, 0.3)
                spent = end()
            assert told <= spent + 0.02  # the kernel's ticks
            with _burning() as end:
                more = until(SELECTOR, told + 0.3)
                spent += end()
            assert more <= spent + 0.02
            assert asked(f"resets({SELECTOR}[1m])") == 0
