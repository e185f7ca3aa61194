"""Binary operators and aggregations by name; what they do to numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,
    "^": np.power,
    "atan2": np.arctan2,
}
COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": np.equal,
    "!=": np.not_equal,
    ">": np.greater,
    "<": np.less,
    ">=": np.greater_equal,
    "<=": np.less_equal,
}
DROPPING = frozenset(ARITHMETIC) - {"atan2"}
"""Operators whose result has no name any more; Prometheus forgot atan2 here."""
SETS = ("and", "or", "unless")
BINARY = (*ARITHMETIC, *COMPARISONS, *SETS)
AGGREGATIONS = (
    "sum",
    "min",
    "max",
    "avg",
    "count",
    "group",
    "stddev",
    "stdvar",
    "quantile",
    "topk",
    "bottomk",
)
