"""Numbers survive KEDA: its thousandths are ours, whichever way it counts them."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import example, given
from hypothesis import strategies as st

from scaler.keda.servicer import sent
from scaler.quantity import LARGEST, thousandths

VALUES = st.floats(min_value=0, max_value=LARGEST)


@given(VALUES)
@example(1.001)
@example(0.29)
@example(5e-324)
@example(LARGEST)
def test_what_keda_cuts_off_is_the_value_rounded_up(value: float) -> None:
    cut = int(sent(value) * 1000)  # Go: int64(value * 1000)
    assert cut >= thousandths(value)
    # Beyond 2^53 thousandths floats are farther apart than one: the next one up, then.
    assert cut - thousandths(value) <= max(0, 2 * value * 1000 / 2**52)
    assert cut < 2**63


@given(st.floats(min_value=0, max_value=1e12))
def test_what_newer_ones_round_is_the_same(value: float) -> None:
    assert round(Decimal(f"{sent(value):.3f}") * 1000) == thousandths(value)  # Go: Sprintf("%.3f")


@given(st.floats(min_value=0, max_value=1, exclude_min=True))
def test_a_small_value_is_never_zero(value: float) -> None:
    assert int(sent(value) * 1000) >= 1
