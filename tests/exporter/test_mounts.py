from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from exporter.mounts import Patient, Usage, usage

USAGE = Usage(3.0, 2.0, 1.0, None, None)


def test_usage_of_a_real_folder_adds_up(tmp_path: Path) -> None:
    found = usage(str(tmp_path))
    assert 0 < found.available <= found.size
    assert found.used + found.available <= found.size


def test_a_server_that_is_gone_costs_one_wait_and_then_none() -> None:
    gone = threading.Event()
    asked = []

    def ask(place: str) -> Usage:
        asked.append(place)
        gone.wait(10)
        return USAGE

    patient = Patient(ask, seconds=0.1)
    with pytest.raises(TimeoutError, match=r"/mnt/nas did not answer within 0\.1 s"):
        patient("/mnt/nas")
    start = time.perf_counter()
    for _ in range(20):
        with pytest.raises(TimeoutError, match="earlier scrape"):
            patient("/mnt/nas")
    assert time.perf_counter() - start < 1.0
    assert asked == ["/mnt/nas"]

    gone.set()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            assert patient("/mnt/nas") == USAGE
            return
        except TimeoutError:
            time.sleep(0.01)
    pytest.fail("the mount point never came back")


def test_the_reason_of_a_failure_gets_through() -> None:
    def ask(place: str) -> Usage:
        raise PermissionError(13, "Permission denied", place)

    with pytest.raises(PermissionError, match="Permission denied"):
        Patient(ask)("/mnt/share")
