"""Progress is for people at a terminal: a real one here, a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = """
import sys
from cloudpulse import progress
{before}
with progress.shown("training [all]", 3, "series") as done:
    done(1)
    done(2)
with progress.shown("reading") as done:
    done(1)
print("answer")
"""


def _run(code: str, stderr: int) -> str:
    """What went to stdout."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=stderr, timeout=30, check=True
    )
    return done.stdout.decode()


def _on_terminal(code: str) -> tuple[str, str]:
    """What went to stdout, a pipe, and to stderr, a terminal."""
    ours, theirs = pty.openpty()
    try:
        out = _run(code, theirs)
        os.close(theirs)
        theirs = -1
        shown = b""
        while chunk := _read(ours):
            shown += chunk
        return out, shown.decode()
    finally:
        os.close(ours)
        if theirs >= 0:
            os.close(theirs)


def _read(file: int) -> bytes:
    try:
        return os.read(file, 65536)
    except OSError:  # how Linux says that the other end is closed
        return b""


def test_a_terminal_sees_a_bar_that_ends_full_and_stdout_only_the_answer() -> None:
    out, shown = _on_terminal(CODE.format(before=""))
    assert out == "answer\n"
    assert "training [all]" in shown
    assert "3/3 series" in shown
    assert "reading" in shown


def test_a_pipe_sees_nothing() -> None:
    ours, theirs = os.pipe()
    with os.fdopen(ours, "rb") as reader:
        out = _run(CODE.format(before=""), theirs)
        os.close(theirs)
        assert reader.read() == b""
    assert out == "answer\n"


def test_without_rich_work_goes_on_unseen() -> None:
    out, shown = _on_terminal(CODE.format(before="sys.modules['rich.console'] = None"))
    assert (out, shown) == ("answer\n", "")
