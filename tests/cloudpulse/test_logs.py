from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudpulse import logs, trace
from cloudpulse.testing import captured_logs


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Logging is global; leave it as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    hooks = sys.excepthook, threading.excepthook
    yield
    logging.captureWarnings(False)
    sys.excepthook, threading.excepthook = hooks
    root.handlers[:] = handlers
    root.setLevel(level)


def _lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    out, err = capsys.readouterr()
    assert out == ""
    return [json.loads(line) for line in err.splitlines()]


def test_a_json_line_has_the_facts_and_the_trace_id(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    with trace.span("forecast round"):
        identifier = trace.identifier()
        logs.get("forecaster.rounds").info("predicted", forecast="web", series=8)
    logs.get("forecaster.rounds").info("after")
    inside, outside = _lines(capsys)
    assert inside["trace_id"] == identifier
    assert (inside["event"], inside["forecast"], inside["series"]) == ("predicted", "web", 8)
    assert (inside["level"], inside["logger"]) == ("info", "forecaster.rounds")
    assert str(inside["timestamp"]).endswith("Z")
    assert "trace_id" not in outside


def test_a_librarys_record_takes_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    with trace.within(trace.Trace("1" * 32, "2" * 16)):
        logging.getLogger("some.library").warning("slow %s", "disk")
        logging.getLogger("urllib3.connectionpool").info("chatter")
    (line,) = _lines(capsys)
    assert (line["event"], line["logger"], line["trace_id"]) == ("slow disk", "some.library", "1" * 32)


def test_lines_below_the_level_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("warning", "json")
    logs.get("a").info("quiet")
    logs.get("a").warning("loud")
    assert [line["event"] for line in _lines(capsys)] == ["loud"]


def test_no_library_is_louder_than_the_level(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("error", "json")
    logging.getLogger("urllib3.connectionpool").warning("chatter")
    assert _lines(capsys) == []


def test_an_exception_is_one_json_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    try:
        raise RuntimeError("broken\npipe")
    except RuntimeError:
        logs.get("a").error("failed", exc_info=True)
    (line,) = _lines(capsys)
    assert "RuntimeError: broken" in str(line["exception"])


def test_text_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "text")
    logs.get("a").info("listening", url="http://localhost:9810")
    err = capsys.readouterr().err
    assert "listening" in err
    assert "url=http://localhost:9810" in err
    assert "\x1b" not in err  # no colours in a pipe


@pytest.mark.parametrize("output_format", ["text", "json"])
def test_a_traceback_shows_no_local_variables(output_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Among them are the secrets that are in use."""
    logs.configure("info", output_format)
    token = "".join(["s3", "cret"])
    try:
        raise ValueError(len(token))
    except ValueError:
        logs.get("a").exception("failed")
    shown = capsys.readouterr().err
    assert "ValueError: 6" in shown
    assert token not in shown


_HOSTILE = "a\nlevel=error \x1b[2J\u202e\x9b31m\u2028\udc80\r"


@pytest.mark.parametrize("output_format", ["text", "json"])
def test_a_value_can_neither_forge_a_line_nor_reach_the_terminal(
    output_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("info", output_format)
    logs.get("a").warning("seen", path=_HOSTILE, labels={_HOSTILE: [_HOSTILE]})
    logging.getLogger("some.library").warning("it says %s", _HOSTILE)
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) == 2
    assert shown.replace("\n", "").isprintable()


def test_an_exceptions_text_can_not_look_like_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "text")
    try:
        raise RuntimeError("broken\n2026-01-01T00:00:00.000000Z info    all is well \x1b[2J")
    except RuntimeError:
        logs.get("a").error("failed", exc_info=True)
    first, *more = capsys.readouterr().err.splitlines()
    assert "failed" in first
    assert more
    assert all(line.startswith("    ") and line.isprintable() for line in more)


def test_what_is_not_json_is_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError

    logs.configure("info", "json")
    endless: list[object] = []
    endless.append(endless)
    logs.get("a").info(
        "odd", path=Path("/x"), nan=float("nan"), names={"b"}, numbers=(1, 2), broken=Broken(), deep=endless
    )
    (line,) = _lines(capsys)
    assert (line["path"], line["nan"], line["names"], line["numbers"]) == ("/x", "nan", ["b"], [1, 2])
    assert line["broken"] == "<Broken>"
    assert "[[[[" in json.dumps(line["deep"])


def test_a_field_takes_no_other_place(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    logs.get("a").info("seen", event="forged", level="error", logger="b", timestamp=0, trace_id="x")
    (line,) = _lines(capsys)
    assert (line["event"], line["level"], line["logger"]) == ("seen", "info", "a")
    assert line["timestamp"] != 0


def test_no_value_is_looked_at_for_a_line_that_is_off(capsys: pytest.CaptureFixture[str]) -> None:
    class Watched:
        def __str__(self) -> str:
            raise AssertionError

    logs.configure("info", "json")
    logs.get("a").debug("quiet", value=Watched())
    assert capsys.readouterr().err == ""


def test_a_record_that_a_library_got_wrong_is_still_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    logging.getLogger("some.library").warning("%d disks", "many")
    (line,) = _lines(capsys)
    assert line["event"] == "%d disks"


@pytest.mark.parametrize("output_format", ["text", "json"])
def test_a_line_is_bounded_whatever_is_logged(output_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", output_format)
    try:
        raise ValueError("first " + "x" * 10**6 + " last")
    except ValueError:
        logs.get("a").error(
            "failed", exc_info=True, text="y" * 10**6, names=["z" * 100] * 10**4, number=10**5000, error="short"
        )
    shown = capsys.readouterr().err
    assert len(shown) < 80_000
    assert "error" in shown
    assert "short" in shown
    assert "characters are left out" in shown
    assert " last" in shown


def test_what_ends_a_thread_or_the_process_and_a_warning_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> None:
        raise RuntimeError("a bug")

    logs.configure("info", "json")
    logs.capture()
    thread = threading.Thread(target=broken, name="mine")
    thread.start()
    thread.join()
    try:
        broken()
    except RuntimeError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    thread_line, process_line, warning = _lines(capsys)
    assert (thread_line["event"], thread_line["thread"]) == ("a thread ended: this is a bug", "mine")
    assert process_line["event"] == "the process ends: this is a bug"
    assert all("RuntimeError: a bug" in str(line["exception"]) for line in (thread_line, process_line))
    assert (warning["level"], "DeprecationWarning: old" in str(warning["event"])) == ("warning", True)


def test_a_log_that_can_not_be_written_costs_its_lines_and_nothing_else() -> None:
    program = "from cloudpulse import logs; logs.configure(); log = logs.get('a')\n"
    program += "for _ in range(3): log.error('lost', value='x' * 100_000)\nprint('went on')"
    reader, nobody_reads = os.pipe()
    os.close(reader)
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        for stderr in (nobody_reads, full):
            done = subprocess.run(
                [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=stderr, timeout=60, check=False
            )
            assert done.stdout == b"went on\n"
    finally:
        os.close(nobody_reads)
        os.close(full)


def test_another_process_can_be_told_the_same() -> None:
    for told in (("info", "json"), ("debug", "text")):
        logs.configure(*told)
        assert logs.configured() == told


def test_captured_lines_have_every_level_and_leave_nothing_behind() -> None:
    logs.configure("error")
    with captured_logs() as lines:
        logs.get("a").debug("small", by=1)
        logging.getLogger("some.library").error("not ours")
    logs.get("a").debug("after")
    assert [(line["event"], line["level"], line["by"]) for line in lines] == [("small", "debug", 1)]
