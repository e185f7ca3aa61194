from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cloudpulse import audit, trace
from cloudpulse.errors import ConfigError
from cloudpulse.testing import captured_logs


@pytest.fixture(autouse=True)
def off_again() -> Iterator[None]:
    yield
    audit.to(None)


def _told(who: str = "key:me", **about: Any) -> bool:
    return audit.written(who, "ack", "taken", origin={"from": "127.0.0.1"}, about=about)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_without_a_file_the_caller_logs_it() -> None:
    assert not _told()


def test_a_line_says_who_did_what_from_where_and_belongs_to_its_trace(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    audit.to(str(path))
    with trace.within(trace.Trace("1" * 32, "2" * 16)):
        assert _told(alert="a\nb\x1b[2J", number=1)
    (line,) = _lines(path)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line.pop("time"))
    assert line == {
        "who": "key:me",
        "from": "127.0.0.1",
        "action": "ack",
        "result": "taken",
        "about": {"alert": "a\nb\x1b[2J", "number": 1},
        "trace_id": "1" * 32,
    }
    assert "\x1b" not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_lines_are_appended_and_a_file_that_was_moved_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_text('{"who": "before"}\n')
    audit.to(str(path))
    _told("first")
    path.rename(tmp_path / "audit.jsonl.1")
    _told("second")
    path.unlink()
    _told("third")
    assert [line["who"] for line in _lines(tmp_path / "audit.jsonl.1")] == ["before", "first"]
    assert [line["who"] for line in _lines(path)] == ["third"]


def test_lines_of_many_threads_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    audit.to(str(path))
    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(lambda number: _told(f"{number}", text="x" * 5000), range(200)))
    assert {line["who"] for line in _lines(path)} == {f"{number}" for number in range(200)}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux's full device")  # noqa: PTH110
def test_on_a_full_disk_the_action_stands_its_line_is_for_the_log_and_that_is_told_once() -> None:
    audit.to("/dev/full")
    with captured_logs() as lines:
        assert not _told()
        assert not _told()
    assert [(line["event"], line["level"]) for line in lines] == [
        ("audit line not written: it is in this log instead", "error")
    ]
    (family,) = audit.Failures().collect()
    assert [(sample.name, sample.value) for sample in family.samples] == [("cloudpulse_audit_failures_total", 2.0)]


def test_what_a_full_disk_left_of_a_line_spoils_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "audit.jsonl"
    audit.to(str(path))
    write = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda file, text: write(file, text[:10]))
        assert not _told("lost")
    assert _told("kept")
    torn, whole = path.read_text().splitlines()
    assert (len(torn), json.loads(whole)["who"]) == (10, "kept")


def test_a_file_that_can_not_be_opened_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--audit-log: can't write .*: No such file or directory"):
        audit.to(str(tmp_path / "missing" / "audit.jsonl"))
    os.mkfifo(tmp_path / "pipe")  # nobody reads it: waiting for that would hold up the start
    with pytest.raises(ConfigError, match="--audit-log"):
        audit.to(str(tmp_path / "pipe"))
