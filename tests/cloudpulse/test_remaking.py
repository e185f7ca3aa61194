from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from cloudpulse.errors import ConfigError
from cloudpulse.remaking import RETRY_SECONDS, Remade, Sources
from cloudpulse.testing import FakeClock


class _Text:
    """Remakes the text of a file; what begins with `broken` can't be used."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "file"
        self.write("first")
        self.errors: list[str] = []
        self.tries = 0
        self.ticks = FakeClock()
        self.usable = True
        self.given = Remade(self._make, lambda error: self.errors.append(str(error)), self.ticks)

    def write(self, text: str) -> None:
        self.file.write_text(text)
        later = time.time() + len(text)  # a change within the same tick of the file system's clock counts, too
        os.utime(self.file, (later, later))

    def _make(self, sources: Sources) -> str:
        self.tries += 1
        text = sources.file(self.file).read_text()
        if text.startswith("broken") or not self.usable:
            raise ConfigError(f"{text}: can't be used")
        return text


@pytest.fixture
def text(tmp_path: Path) -> _Text:
    return _Text(tmp_path)


def test_nothing_is_read_again_while_nothing_changes(text: _Text) -> None:
    assert [text.given() for _ in range(3)] == ["first"] * 3
    assert text.tries == 1


def test_a_change_is_used_and_a_broken_one_is_not(text: _Text) -> None:
    text.write("broken half")
    assert [text.given() for _ in range(3)] == ["first"] * 3
    assert (text.tries, text.errors, text.given.failed) == (2, ["broken half: can't be used"], True)
    text.write("the second")
    assert (text.given(), text.given.failed) == ("the second", False)


def test_what_could_not_be_used_is_tried_again_after_a_while_and_told_once(text: _Text) -> None:
    """There may have been no file descriptor left for a moment: the file does not change when there is one again."""
    text.usable = False
    text.write("changed")
    assert text.given() == text.given() == "first"
    text.ticks.advance(RETRY_SECONDS)
    assert text.given() == text.given() == "first"
    assert (text.tries, len(text.errors)) == (3, 1)
    text.usable = True
    text.ticks.advance(RETRY_SECONDS)
    assert (text.given(), text.given.failed) == ("changed", False)


def test_a_reload_reads_at_once_and_says_why_not(text: _Text) -> None:
    text.usable = False
    with pytest.raises(ConfigError, match="first: can't be used"):
        text.given.now()
    assert text.given() == "first"
    text.usable = True
    assert text.given.now() == "first"


def test_the_first_value_must_be_had(tmp_path: Path) -> None:
    def fails(sources: Sources) -> str:
        raise ConfigError("no")

    with pytest.raises(ConfigError, match="no"):
        Remade(fails, lambda error: None)
