from __future__ import annotations

import threading
import time
from pathlib import Path

from exporter.mounts import Usage, Usages, usage

USAGE = Usage(3.0, 2.0, 1.0, None, None)


def test_usage_of_a_real_folder_adds_up(tmp_path: Path) -> None:
    found = usage(str(tmp_path))
    assert 0 < found.available <= found.size
    assert found.used + found.available <= found.size


def test_a_server_that_is_gone_costs_one_wait_then_none_and_never_another_mount_point() -> None:
    back = threading.Event()
    asked = []

    def ask(place: str) -> Usage:
        asked.append(place)
        if place == "/mnt/nas":
            assert back.wait(20)
        return USAGE

    usages = Usages(ask, seconds=0.3)
    for _ in range(20):
        found = usages(["/", "/mnt/nas", "/home"])
        assert isinstance(found["/mnt/nas"].error, TimeoutError)
        assert found["/"].value == found["/home"].value == USAGE
    assert asked.count("/mnt/nas") == 1

    back.set()
    deadline = time.monotonic() + 10
    while usages(["/mnt/nas"])["/mnt/nas"].value != USAGE:
        assert time.monotonic() < deadline, "the mount point never came back"
        time.sleep(0.01)


def test_the_reason_of_a_failure_gets_through() -> None:
    def ask(place: str) -> Usage:
        raise PermissionError(13, "Permission denied", place)

    assert "Permission denied" in str(Usages(ask)(["/mnt/share"])["/mnt/share"].error)
