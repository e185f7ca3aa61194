from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudpulse.durations import Duration, format_duration


@given(st.integers(0, 10**12))
def test_a_duration_survives_being_written_and_read(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert round(float(Duration.parse(format_duration(seconds))) * 1000) == milliseconds
    assert str(Duration.parse(format_duration(seconds))) == format_duration(seconds)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("1h30m", 5400),
        ("14d", 14 * 86400),
        ("2w", 14 * 86400),
        ("1y", 365 * 86400),
        ("1m30s500ms", 90.5),
        ("0", 0),
        ("0s", 0),
    ],
)
def test_prometheus_words_are_read(text: str, seconds: float) -> None:
    assert float(Duration.parse(text)) == seconds


@pytest.mark.parametrize(
    "text", ["", "fast", "5", "1.5h", "-1m", "1m1h", "1m 30s", "1M", "1h1h", "s", " 1m", "1m\n", "\u0663m"]
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration such as 1m, got"):
        Duration.parse(text)


def test_it_is_shown_as_it_was_written() -> None:
    assert repr(Duration.parse("90m")) == "Duration('90m')"
    assert str(Duration(5400)) == "1h30m"
