"""What is encoded is decoded as it was, bit by bit, by a decoder that reads Prometheus' own chunks, too."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.remoteread import xor
from tests.forecaster.remoteread.decoder import samples

START = 1_700_000_000_000


def decoded(chunks: list[xor.Chunk]) -> list[tuple[int, int]]:
    found = []
    for chunk in chunks:
        part = samples(chunk.data)
        assert (part[0][0], part[-1][0]) == (chunk.first, chunk.last)
        found.append(part)
    assert all(len(part) == 120 for part in found[:-1])
    assert all(len(part) <= 120 for part in found)
    return [one for part in found for one in part]


def check(times: np.ndarray, values: np.ndarray) -> None:
    rows = xor.encode(times, values)
    assert len(rows) == len(values)
    for chunks, row in zip(rows, values, strict=True):
        there = ~np.isnan(row)
        expected = list(zip(times[there].tolist(), row[there].view(np.uint64).tolist(), strict=True))
        assert decoded(chunks) == expected


@pytest.mark.parametrize("count", [1, 2, 3, 119, 120, 121, 240, 241, 288])
def test_paths_of_any_length_come_back(count: int) -> None:
    times = START + 300_000 * np.arange(count)
    check(times, np.random.default_rng(count).normal(100, 20, (5, count)))


def test_values_that_need_every_kind_of_window_come_back() -> None:
    row = [0.0, 0.0, -0.0, 1, 1, 2, np.inf, -np.inf, 5e-324, 1.7976931348623157e308, -1.5, 0.1, 0.1, 1e9, 1e9 + 1, 3]
    smooth = np.linspace(0, 1, len(row))
    check(START + 1000 * np.arange(len(row)), np.array([row, row[::-1], [7.0] * len(row), smooth]))


def test_samples_that_are_not_there_leave_no_trace() -> None:
    values = np.random.default_rng(0).normal(size=(4, 300))
    values[0, ::7] = np.nan
    values[1, 1:290] = np.nan
    values[2] = np.nan
    values[3, 120] = np.nan
    rows = xor.encode(START + 60_000 * np.arange(300), values)
    assert rows[2] == []
    check(START + 60_000 * np.arange(300), values)


@pytest.mark.parametrize("border", [1 << 13, 1 << 16, 1 << 19])
def test_time_differences_on_the_borders_of_their_classes_come_back(border: int) -> None:
    """-8191 to 8192 have 14 bits, and so on."""
    base = 4 * border
    for change in (border - 1, border, border + 1, -border + 1, -border, -border - 1, 5 * border, -3 * border):
        times = START + np.cumsum([0, base, base + change, base, base + 1])
        check(times, np.array([[1.0, 2, 3, 4, 5]]))


@pytest.mark.parametrize("start", [-(2**55) + 1, -1, 0, 1, 2**55 - 10**6])
def test_times_far_from_now_come_back(start: int) -> None:
    check(start + 1000 * np.arange(4), np.array([[1.0, 2, 3, 4]]))


@given(
    st.lists(
        st.tuples(st.integers(1, 2**40), st.floats(allow_nan=False) | st.sampled_from([1.0, 1.5])),
        min_size=1,
        max_size=150,
    )
)
def test_any_samples_come_back(given_samples: list[tuple[int, float]]) -> None:
    times = START + np.cumsum([distance for distance, _ in given_samples])
    check(times, np.array([[value for _, value in given_samples]]))


def test_nothing_is_no_chunk() -> None:
    assert xor.encode(np.array([START]), np.empty((0, 1))) == []
    assert xor.encode(np.array([START]), np.array([[np.nan]])) == [[]]
