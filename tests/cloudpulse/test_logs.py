from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from cloudpulse import logs


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Logging is global; leave it as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def _lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    out, err = capsys.readouterr()
    assert out == ""
    return [json.loads(line) for line in err.splitlines()]


def test_a_json_line_has_the_facts_and_the_correlation_id(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    with logs.correlation("round") as identifier:
        logs.get("forecaster.rounds").info("predicted", forecast="web", series=8)
    logs.get("forecaster.rounds").info("after")
    inside, outside = _lines(capsys)
    assert inside["round"] == identifier
    assert (inside["event"], inside["forecast"], inside["series"]) == ("predicted", "web", 8)
    assert (inside["level"], inside["logger"]) == ("info", "forecaster.rounds")
    assert str(inside["timestamp"]).endswith("Z")
    assert "round" not in outside


def test_two_rounds_have_two_ids_and_a_given_one_is_kept() -> None:
    with logs.correlation("round") as first, logs.correlation("round") as second:
        assert first != second
    with logs.correlation("request", "abc") as given:
        assert given == "abc"


def test_a_librarys_record_takes_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    with logs.correlation("request", "r1"):
        logging.getLogger("some.library").warning("slow %s", "disk")
        logging.getLogger("urllib3.connectionpool").info("chatter")
    (line,) = _lines(capsys)
    assert (line["event"], line["logger"], line["request"]) == ("slow disk", "some.library", "r1")


def test_lines_below_the_level_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("warning", "json")
    logs.get("a").info("quiet")
    logs.get("a").warning("loud")
    assert [line["event"] for line in _lines(capsys)] == ["loud"]


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
