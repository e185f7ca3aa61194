"""The parts of a rule that are more than a word."""

from __future__ import annotations

import math

from cloudpulse.config import Section
from scaler.quantity import LARGEST


class Clamp(Section, frozen=True):
    """Bounds that each value is held within; NaN and Inf are refused before, never clamped."""

    min: float | None = None
    max: float | None = None

    def __post_init__(self) -> None:
        for key, bound in (("min", self.min), ("max", self.max)):
            if bound is not None and not (math.isfinite(bound) and abs(bound) <= LARGEST):
                raise ValueError(f"{key}: expected a number within ±2^53, got {bound:g}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"expected min not above max, got {self.min:g} and {self.max:g}")

    def apply(self, value: float) -> float:
        """`value`, or the bound that it is beyond."""
        if self.min is not None and value < self.min:
            return self.min
        if self.max is not None and value > self.max:
            return self.max
        return value


class Cost(Section, frozen=True):
    """What a unit too little and a unit too much cost, in whatever money; picks the level that costs least.

    The quantile that minimises the expected cost is short / (short + idle), the newsvendor's critical ratio (Arrow,
    Harris & Marschak 1951).
    """

    short: float
    idle: float

    def __post_init__(self) -> None:
        for key, price in (("short", self.short), ("idle", self.idle)):
            if not 0 < price < math.inf:
                raise ValueError(f"{key}: expected a number above 0, got {price:g}")

    @property
    def level(self) -> float:
        """Between 0 and 1."""
        return self.short / (self.short + self.idle)


class ReadyQuery(Section, frozen=True):
    """PromQL that answers the seconds in which a new pod becomes ready; of several series the slowest counts."""

    query: str
