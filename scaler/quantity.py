"""A number as Kubernetes Quantity text: exact to a thousandth, rounded up, canonical.

Source: apimachinery `pkg/api/resource/quantity.go`. The HPA reads thousandths and rounds up to them; a quantity
beyond about 9.2e15 silently becomes 0 or negative there (hpa-response-cases: big-1e16), so it is refused here.
"""

from __future__ import annotations

import math
from decimal import ROUND_UP, Decimal

LARGEST = float(2**53)
"""The largest value answered; up to here a float is exact to 1, and the HPA's 64-bit thousandths can't overflow."""

SMALLEST_TARGET = 0.001
"""Kubernetes counts in thousandths, and who scales divides by the target."""

_TARGET_CHANGE = 0.01
"""How far, by its own size, counting may move a target: well within the HPA's tolerance of 0.1."""

_SUFFIXES = ("", "k", "M", "G", "T", "P")


def quantity(value: float) -> str:
    """Canonical text of `value`, rounded away from zero to a thousandth: `1500m`, `2k`, `0`.

    The value is its shortest decimal text, the one that Prometheus writes: 0.1 is `100m`, not `101m`.
    Raises ValueError for NaN, Inf and beyond ±`LARGEST`: for those there is no honest quantity.

    >>> quantity(1.5), quantity(2000.0), quantity(0.0001)
    ('1500m', '2k', '1m')
    """
    count = thousandths(value)
    whole, rest = divmod(count, 1000)
    if rest:
        return f"{count}m"
    thousands = 0
    while whole and whole % 1000 == 0:
        whole //= 1000
        thousands += 1
    return f"{whole}{_SUFFIXES[thousands]}"


def thousandths(value: float) -> int:
    """What Kubernetes counts: `value` in thousandths, rounded away from zero. Raises ValueError as `quantity` does.

    >>> thousandths(0.1), thousandths(0.0001)
    (100, 1)
    """
    if math.isnan(value) or math.isinf(value):
        raise ValueError(f"{value} is not a number that can be scaled on")
    if abs(value) > LARGEST:
        raise ValueError(f"{value:g} is beyond ±2^53, which the HPA can't count exactly")
    return int((Decimal(repr(value)) * 1000).to_integral_value(ROUND_UP))


def check_target(value: float) -> None:
    """Raise ValueError unless `value` can be divided by and stays within 1 % of itself in thousandths.

    A target that is rounded up far is too few replicas, and nobody would notice.
    """
    if not SMALLEST_TARGET <= value <= LARGEST:
        raise ValueError(f"expected a number from {SMALLEST_TARGET:g} to 2^53, got {value:g}")
    counted = thousandths(value) / 1000
    if counted - value > _TARGET_CHANGE * value:
        raise ValueError(
            f"{value:g} would be counted as {counted:g}, in thousandths: scale the metric and its target up alike"
        )
