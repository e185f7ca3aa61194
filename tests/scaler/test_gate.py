"""The gate: shuts on what is bad, opens on what is clearly better, and never flaps in between."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.gate import FORGET_SECONDS, Figures, Gate, Thresholds

BOUNDS = Thresholds(mase=1.2, coverage=0.2, hysteresis=0.2)
NAN = math.nan


def shut(gate: Gate, mase: float, coverage: float, key: str = "a") -> str:
    return gate.shut(key, Figures(mase, coverage), 0.9, 0.0)


@pytest.mark.parametrize(
    ("course", "verdicts"),
    [
        ([(NAN, NAN)], [""]),  # too young to tell: open
        ([(1.19, 0.71)], [""]),
        ([(1.21, 0.9)], ["accuracy"]),
        ([(0.5, 0.69)], ["coverage"]),
        ([(0.5, 1.0)], [""]),  # too much costs money, and a gross excess is a MASE far above 1
        ([(1.3, 0.9), (1.0, 0.9), (0.95, 0.9)], ["accuracy", "accuracy", ""]),
        ([(0.5, 0.6), (0.5, 0.73), (0.5, 0.75)], ["coverage", "coverage", ""]),
        ([(1.3, 0.9), (NAN, NAN), (NAN, 0.9)], ["accuracy"] * 3),  # unknown leaves it as it is
        ([(1.3, 0.6), (0.9, 0.6), (0.9, 0.9)], ["accuracy", "coverage", ""]),
        ([(math.inf, 0.9)], ["accuracy"]),
    ],
)
def test_opens_and_shuts_by_the_figures(course: list[tuple[float, float]], verdicts: list[str]) -> None:
    gate = Gate(BOUNDS)
    assert [shut(gate, *figures) for figures in course] == verdicts


_MASE_BAND = st.floats(1.2 * 0.8, 1.2, exclude_min=True)
_COVERAGE_BAND = st.floats(0.701, 0.739)


@given(st.booleans(), st.lists(st.tuples(_MASE_BAND | st.just(NAN), _COVERAGE_BAND | st.just(NAN)), max_size=50))
def test_nothing_inside_the_band_changes_it(first_bad: bool, course: list[tuple[float, float]]) -> None:
    gate = Gate(BOUNDS)
    before = shut(gate, *((2.0, 0.1) if first_bad else (0.5, 0.9)))
    assert {shut(gate, *figures) for figures in course} <= {before}


@given(st.booleans(), st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_each_turn_takes_a_figure_across_the_whole_band(of_mase: bool, course: list[float]) -> None:
    gate = Gate(BOUNDS)
    was = ""
    for share in course:
        verdict = shut(gate, 3 * share, NAN) if of_mase else shut(gate, NAN, share)
        badness, threshold = (3 * share, 1.2) if of_mase else (0.9 - share, 0.2)
        if verdict != was:
            assert badness > threshold if verdict else badness <= threshold * 0.8
        was = verdict


@given(st.floats(0, 3), st.floats(0, 1))
def test_series_do_not_know_of_one_another(mase: float, coverage: float) -> None:
    gate = Gate(BOUNDS)
    shut(gate, 2.0, 0.1, "bad")
    assert shut(gate, mase, coverage, "other") == shut(Gate(BOUNDS), mase, coverage)


def test_a_series_that_is_gone_is_forgotten_and_a_short_absence_is_not() -> None:
    gate = Gate(BOUNDS)
    bad, young = Figures(2.0, 0.9), Figures(NAN, NAN)
    gate.shut("a", bad, 0.9, 0.0)
    gate.forget(FORGET_SECONDS)
    assert gate.shut("a", young, 0.9, FORGET_SECONDS) == "accuracy"
    gate.forget(2 * FORGET_SECONDS + 1)
    assert gate.keys() == {}
    assert gate.shut("a", young, 0.9, 2 * FORGET_SECONDS + 1) == ""


def test_figures_can_be_switched_off() -> None:
    gate = Gate(Thresholds(mase=math.inf, coverage=1.0))
    assert shut(gate, 1e9, 0.0) == ""
