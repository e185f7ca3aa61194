from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from forecaster.blocks import COLUMNS, EMPTY, packed

WHOLE = slice(None)
VALUES = arrays.arrays(
    np.float64, (3, COLUMNS), elements=st.one_of(st.floats(-1e15, 1e15), st.just(np.nan)), fill=st.just(np.nan)
)


@given(VALUES, st.floats(-1e15, 1e15))
def test_gaps_stay_and_7_digits_of_a_series_width_do(values: NDArray[np.float64], level: float) -> None:
    """Or of its distance from 0, where it isn't much further away than it is wide."""
    block = packed(np.arange(3), values + level)
    known = ~np.isnan(values)
    assert block.rows.tolist() == np.flatnonzero(known.any(axis=1)).tolist()
    for row, got in zip(block.rows, block.unpacked(WHOLE), strict=True):
        expected = (values + level)[row]
        np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
        width = np.nanmax(expected) - np.nanmin(expected)
        largest = np.nanmax(np.abs(expected))
        off = min(largest, 9 * width) * 2.0**-23 + np.spacing(largest) + np.finfo(np.float32).smallest_subnormal
        assert np.nanmax(np.abs(got - expected)) <= off


@pytest.mark.parametrize("level", [0.0, 0.9, 1e12 + 1 / 3])
def test_a_series_that_stands_still_is_kept_exactly(level: float) -> None:
    block = packed(np.arange(1), np.full((1, COLUMNS), level))
    assert set(block.unpacked(WHOLE)[0]) == {level}


def test_zero_is_zero_beside_large_values() -> None:
    values = np.where(np.arange(COLUMNS) % 9 == 0, 0.0, 1e6 / 3)[None]
    assert (packed(np.arange(1), values).unpacked(WHOLE)[0, ::9] == 0).all()


def test_what_float32_cannot_hold_is_a_gap() -> None:
    values = np.ones((1, COLUMNS))
    values[0, :2] = 1e300, -1e300
    assert np.isnan(packed(np.arange(1), values).unpacked(WHOLE)[0, :2]).all()


def test_new_values_take_the_place_of_old_ones_and_so_do_their_gaps() -> None:
    block = EMPTY.replaced(0, np.array([5, 2]), np.array([[1.0, 2, 3, 4], [9, 9, 9, 9]]))
    block = block.replaced(2, np.array([7, 5]), np.array([[6.0, 6, 6], [np.nan, 8, np.nan]]))
    assert block.rows.tolist() == [2, 5, 7]
    expected = [[9, 9, np.nan, np.nan, np.nan], [1, 2, np.nan, 8, np.nan], [np.nan, np.nan, 6, 6, 6]]
    np.testing.assert_array_equal(block.unpacked(slice(0, 5)), expected)
    assert np.isnan(block.values[:, 5:]).all()


def test_a_block_written_many_times_does_not_drift() -> None:
    """It is, once for every column."""
    values = 1e12 + np.random.default_rng(1).normal(0, 1e3, (1, COLUMNS))
    block = EMPTY
    for column in range(COLUMNS):
        block = block.replaced(column, np.array([0]), values[:, column : column + 1])
    np.testing.assert_array_equal(block.values, packed(np.array([0]), values).values)
