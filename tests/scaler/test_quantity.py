"""Quantities, held against the Kubernetes client's own parser."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.utils.quantity import parse_quantity

from scaler.quantity import LARGEST, check_target, quantity

CANONICAL = re.compile(r"0|-?[1-9][0-9]*[mkMGTP]?")


@given(st.floats(-LARGEST, LARGEST))
def test_is_the_next_thousandth_away_from_zero(value: float) -> None:
    text = quantity(value)
    assert CANONICAL.fullmatch(text)
    read, exact = abs(Fraction(parse_quantity(text))), abs(Fraction(repr(value)))
    assert exact <= read < exact + Fraction(1, 1000)


@given(st.integers(-(10**15), 10**15))
def test_text_that_a_float_can_hold_comes_back_unchanged(thousandths: int) -> None:
    value = float(Decimal(thousandths) / 1000)
    text = quantity(value)
    if Decimal(repr(value)) == Decimal(thousandths) / 1000:
        assert parse_quantity(text) == Decimal(thousandths) / 1000
    assert quantity(float(parse_quantity(text))) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (0.1, "100m"),
        (1.5, "1500m"),
        (100.0, "100"),
        (1000.0, "1k"),
        (2500.0, "2500"),
        (1_000_000.0, "1M"),
        (1.23456789012345, "1235m"),  # val-long: the HPA makes 1235m of it
        (0.0005, "1m"),
        (1e-300, "1m"),
        (-0.0005, "-1m"),
        (-5.0, "-5"),
        (2.0**53, "9007199254740992"),
    ],
)
def test_is_written_as_apimachinery_writes_it(value: float, text: str) -> None:
    assert quantity(value) == text


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2.0**53 * 1.0001, -1e16, 1e30])
def test_what_no_hpa_can_count_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"scaled on|2\^53"):
        quantity(value)


@pytest.mark.parametrize("target", [0.001, 0.1, 0.1009, 22.2, 1 / 3, LARGEST])
def test_a_target_that_thousandths_hardly_change_is_one(target: float) -> None:
    check_target(target)


@pytest.mark.parametrize("target", [0.0, -1.0, 0.0009, LARGEST * 2, math.nan, math.inf, 0.0015, 0.0201])
def test_a_target_that_would_be_counted_as_another_is_refused(target: float) -> None:
    with pytest.raises(ValueError, match=r"expected a number from 0\.001 to 2\^53|would be counted as 0\.0"):
        check_target(target)
