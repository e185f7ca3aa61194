from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudpulse.promql import Series
from forecaster.frame import Frame, from_series


def series(times: list[float], values: list[float]) -> Series:
    return Series({}, np.array(times, float), np.array(values, float))


def test_gaps_are_nan_and_infinity_is_a_gap() -> None:
    frame = from_series([series([100, 130, 160], [1, np.inf, np.nan])], 100, 10, 8)
    np.testing.assert_array_equal(frame.values, [[1, *[np.nan] * 7]])


def test_samples_off_the_grid_go_to_the_nearest_column_and_those_outside_nowhere() -> None:
    frame = from_series([series([80, 104, 117, 999], [1, 2, 3, 4])], 100, 10, 4)
    np.testing.assert_array_equal(frame.values, [[2, np.nan, 3, np.nan]])


def test_of_samples_that_meet_the_later_known_one_counts() -> None:
    frame = from_series([series([98, 101, 103, 110, 111], [1, 2, 3, 4, np.nan]), series([99], [5])], 100, 10, 2)
    np.testing.assert_array_equal(frame.values, [[3, 4], [5, np.nan]])


def test_many_series_are_placed_as_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """In batches, of which a series may be larger; some have no samples."""
    monkeypatch.setattr("forecaster.frame._AT_ONCE", 7)
    many = [series([100 + 10 * i for i in range(count)], [count] * count) for count in (3, 0, 9, 1, 0, 5, 30, 2)]
    frame = from_series(many, 100, 10, 30)
    for one, row in zip(many, frame.values, strict=True):
        np.testing.assert_array_equal(row, from_series([one], 100, 10, 30).values[0])
        assert (~np.isnan(row)).sum() == len(one.times)


@given(st.lists(st.integers(0, 49), unique=True), st.integers(1, 600))
def test_samples_on_the_grid_come_back_whole(columns: list[int], step: int) -> None:
    columns.sort()
    one = series([1_700_000_000 + column * step for column in columns], [float(c) for c in columns])
    frame = from_series([one], 1_700_000_000, step, 50)
    assert np.flatnonzero(~np.isnan(frame.values[0])).tolist() == columns
    assert frame.values[0, columns].tolist() == columns


def test_parts_keep_their_place_in_time() -> None:
    frame = Frame(100.0, 10.0, ({"a": "1"}, {"a": "2"}), np.arange(10.0).reshape(2, 5))
    assert frame.end == 140
    assert frame.tail(2).start == 130
    assert frame.tail(99).start == 100
    assert frame.between(1, 3).values.tolist() == [[1, 2], [6, 7]]
    assert frame.select([1]).labels == ({"a": "2"},)


def test_labels_and_values_must_fit() -> None:
    with pytest.raises(ValueError, match="1 series can't hold"):
        Frame(0.0, 1.0, ({},), np.zeros((2, 3)))
