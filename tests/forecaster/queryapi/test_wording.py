"""Numbers as Go writes them, and text as JSON."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.queryapi import wording
from forecaster.queryapi.lexing import masked
from forecaster.queryapi.parse import parse
from forecaster.queryapi.refusals import Refused


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"), (-0.0, "-0"), (0.0, "0"), (0.1, "0.1"), (1e-6, "0.000001"), (1e-7, "1e-07"), (1.5e-7, "1.5e-07"),
        (1e20, "100000000000000000000"), (1e21, "1e+21"), (123456789012345680.0, "123456789012345680"),
        (-2.5e300, "-2.5e+300"), (1e16, "10000000000000000"), (1.25e-5, "0.0000125"), (5e-324, "5e-324"),
        (float("nan"), "NaN"), (float("inf"), "+Inf"), (float("-inf"), "-Inf"), (100.0, "100"), (1.05, "1.05"),
    ],
)  # fmt: skip
def test_a_number_is_written_as_prometheus_writes_it(value: float, text: str) -> None:
    assert wording.number(value) == text


@given(st.lists(st.floats(), min_size=1))
def test_many_numbers_are_written_like_each_alone_and_read_back_as_the_same(values: list[float]) -> None:
    texts = wording.numbers(np.array(values))
    assert texts == [wording.number(value) for value in values]
    assert np.array_equal(np.array([float(text) for text in texts]), np.array(values), equal_nan=True)


@given(st.integers(-(10**15), 10**15))
def test_times_are_exact(time: int) -> None:
    assert round(json.loads(wording.seconds(time)) * 1000) == time


@given(st.text(max_size=60) | st.text("abc(){}[]\"'`\\@+-^*=~!<>,.:#0123456789 emnx", max_size=60))
def test_any_text_is_a_query_or_refused(text: str) -> None:
    """Neither a panic of the parser, which is in Rust, nor any other error."""
    with contextlib.suppress(Refused):
        parse(text)


def test_strings_are_read_as_go_reads_them() -> None:
    words = masked(r"""a{b="x\ty\"\u00e9\xc3\xa9\101", c='\'', d=`\n`}""").strings
    assert words == ('x\ty"ééA', "'", r"\n")
