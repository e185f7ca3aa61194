from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from forecaster.counters import look_like_counters
from forecaster.frame import Frame


def counted(apps: Frame) -> NDArray[np.float64]:
    """Counters whose rates are four real applications."""
    return np.cumsum(apps.values * 300, axis=1)


def test_counters_are_recognised_with_and_without_resets_and_gaps(apps: Frame) -> None:
    values = counted(apps)
    values[1, 2000:] -= values[1, 2000]
    values[2, 2000:] -= values[2, 1998]
    values[2, ::5] = np.nan
    values[3, :3000] = np.nan
    assert look_like_counters(values).all()


def test_real_load_is_no_counter_and_nor_is_a_counter_corrected_downwards(apps: Frame) -> None:
    assert not look_like_counters(apps.values).any()
    values = counted(apps)
    values[:, 2000:] -= 0.5 * values[:, [2000]]
    assert not look_like_counters(values).any()


@pytest.mark.parametrize(
    "nothing", [np.full((2, 500), np.nan), np.full((2, 500), 7.0), np.zeros((2, 0)), np.ones((2, 1))]
)
def test_constants_and_gaps_are_no_counters(nothing: NDArray[np.float64]) -> None:
    assert not look_like_counters(nothing).any()


def test_a_disk_that_fills_up_now_and_then_is_no_counter(apps: Frame) -> None:
    filling = np.repeat(counted(apps)[:, ::6], 6, axis=1)
    assert not look_like_counters(filling).any()
