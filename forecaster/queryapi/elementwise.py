"""Functions that look at each value by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from forecaster.queryapi.values import Bools, Floats

_DAY = 86400
_LATEST = 8e15
"""Seconds that numpy's calendar still knows, far beyond any time that means something."""


def _rounded(values: Floats, to_nearest: Any = 1.0) -> Floats:
    """Halves up, on multiples of `to_nearest`: Prometheus multiplies with its inverse, and so rounds as it does."""
    inverse = 1.0 / to_nearest
    rounded: Floats = np.floor(values * inverse + 0.5) / inverse
    return rounded


def _at_least(values: Floats, low: Any) -> Floats:
    """Go's math.Max: an infinity decides before NaN does."""
    larger = np.maximum(values, low)
    return np.where((values == np.inf) | (low == np.inf), np.inf, larger)


def _at_most(values: Floats, high: Any) -> Floats:
    smaller = np.minimum(values, high)
    return np.where((values == -np.inf) | (high == -np.inf), -np.inf, smaller)


def _clamped(values: Floats, low: Any, high: Any) -> Floats:
    return _at_least(_at_most(values, high), low)


def _sign(values: Floats) -> Floats:
    return np.where(values < 0, -1.0, np.where(values > 0, 1.0, values))


ELEMENTWISE: dict[str, Callable[..., Floats]] = {
    "abs": np.abs,
    "acos": np.arccos,
    "acosh": np.arccosh,
    "asin": np.arcsin,
    "asinh": np.arcsinh,
    "atan": np.arctan,
    "atanh": np.arctanh,
    "ceil": np.ceil,
    "clamp": _clamped,
    "clamp_max": _at_most,
    "clamp_min": _at_least,
    "cos": np.cos,
    "cosh": np.cosh,
    "deg": np.degrees,
    "exp": np.exp,
    "floor": np.floor,
    "ln": np.log,
    "log10": np.log10,
    "log2": np.log2,
    "rad": np.radians,
    "round": _rounded,
    "sgn": _sign,
    "sin": np.sin,
    "sinh": np.sinh,
    "sqrt": np.sqrt,
    "tan": np.tan,
    "tanh": np.tanh,
}
"""Of a vector's values, then numbers that are the same for all series."""


def _calendar(values: Floats) -> tuple[Any, Any, Any]:
    """Days, months and years since 1970, UTC."""
    seconds = np.trunc(np.clip(np.nan_to_num(values), -_LATEST, _LATEST)).astype(np.int64)
    days = np.floor_divide(seconds, _DAY).astype("datetime64[D]")
    return days, days.astype("datetime64[M]"), days.astype("datetime64[Y]")


def _seconds(values: Floats) -> Any:
    return np.trunc(np.clip(np.nan_to_num(values), -_LATEST, _LATEST)).astype(np.int64)


def _number(array: Any) -> Floats:
    return np.asarray(array).astype(np.int64).astype(np.float64)


def _days_in_month(values: Floats) -> Floats:
    month = _calendar(values)[1]
    return _number((month + 1).astype("datetime64[D]") - month.astype("datetime64[D]"))


def _day_of_month(values: Floats) -> Floats:
    days, month, _ = _calendar(values)
    return _number(days - month.astype("datetime64[D]")) + 1


def _day_of_year(values: Floats) -> Floats:
    days, _, year = _calendar(values)
    return _number(days - year.astype("datetime64[D]")) + 1


DATES: dict[str, Callable[[Floats], Floats]] = {
    "day_of_month": _day_of_month,
    "day_of_week": lambda values: _number((_calendar(values)[0].astype(np.int64) + 4) % 7),
    "day_of_year": _day_of_year,
    "days_in_month": _days_in_month,
    "hour": lambda values: _number(_seconds(values) % _DAY // 3600),
    "minute": lambda values: _number(_seconds(values) % 3600 // 60),
    "month": lambda values: _number(_calendar(values)[1].astype(np.int64) % 12 + 1),
    "year": lambda values: _number(_calendar(values)[2].astype(np.int64) + 1970),
}
"""Of Unix times, in UTC; of the time of evaluation where no vector is given."""


def quantile(values: Floats, present: Bools, level: Any) -> Floats:
    """Along the last axis, of what is present, NaN being the least; `level` one number, or one for each row.

    Prometheus' way: on a straight line between the two nearest; -Inf below level 0, +Inf above 1.
    """
    rank = np.where(present, np.where(np.isnan(values), 0, 1), 2)
    order = np.lexsort((np.where(np.isnan(values), 0.0, values), rank), axis=-1)
    ordered = np.take_along_axis(values, order, -1)
    count = present.sum(-1)
    level = np.broadcast_to(np.asarray(level, np.float64), count.shape)
    position = np.where(np.isnan(level), 0.0, np.clip(level, 0.0, 1.0)) * np.maximum(count - 1, 0)
    low = np.floor(position).astype(np.intp)
    high = np.minimum(np.maximum(count - 1, 0), low + 1)
    weight = position - low
    below = np.take_along_axis(ordered, low[..., None], -1)[..., 0]
    above = np.take_along_axis(ordered, high[..., None], -1)[..., 0]
    found = below * (1 - weight) + above * weight
    found = np.where(level < 0, -np.inf, np.where(level > 1, np.inf, found))
    return np.where(np.isnan(level) | (count == 0), np.nan, found)
