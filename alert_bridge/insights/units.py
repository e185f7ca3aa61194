"""What numbers mean, guessed from metrics' names, and how people read them.

Names: https://prometheus.io/docs/practices/naming/#base-units. Where an expression multiplies, divides or counts,
nothing is guessed: a wrong unit is worse than none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import promql_parser as promql


class Scale(NamedTuple):
    """From which size on it is used, what one of it is worth, and how it is written behind a number."""

    least: float
    worth: float
    sign: str


@dataclass(frozen=True)
class Unit:
    """A kind of number: its scales from the smallest up."""

    scales: tuple[Scale, ...]

    def scale(self, value: float) -> Scale:
        """The scale that people would use for `value`."""
        size = abs(value) * (1 + 1e-9)
        return next((one for one in reversed(self.scales) if size >= one.least), self.scales[0])

    def text(self, value: float) -> str:
        """For people: two or three digits, such as `93 %`, `1.2 GiB`, `40 min`."""
        scale = self.scale(value)
        return f"{digits(value / scale.worth)}{scale.sign}"

    def span(self, low: float, high: float) -> str:
        """From `low` to `high`, in one scale: `40–55 %`."""
        scale = self.scale(max(abs(low), abs(high)))
        first, second = digits(low / scale.worth), digits(high / scale.worth)
        return f"{first}{scale.sign}" if first == second else f"{first}{_to(first, second)}{second}{scale.sign}"


def _even(*scales: tuple[float, str]) -> Unit:
    return Unit(tuple(Scale(worth, worth, sign) for worth, sign in scales))


PLAIN = Unit(
    (Scale(1, 1, ""), Scale(1e4, 1e3, "k"), Scale(1e6, 1e6, "M"), Scale(1e9, 1e9, "G"), Scale(1e12, 1e12, "T"))
)
RATIO = Unit((Scale(0, 0.01, " %"),))
BYTES = _even((1.0, " B"), (1024.0, " KiB"), (1024.0**2, " MiB"), (1024.0**3, " GiB"), (1024.0**4, " TiB"))
BYTES_PER_SECOND = _even(*((worth, f"{sign}/s") for _, worth, sign in BYTES.scales))
PER_SECOND = Unit(tuple(Scale(least, worth, f"{sign}/s") for least, worth, sign in PLAIN.scales))
SECONDS = Unit(
    (
        Scale(1e-6, 1e-6, " µs"),
        Scale(1e-3, 1e-3, " ms"),
        Scale(0.1, 1.0, " s"),
        Scale(120.0, 60.0, " min"),
        Scale(7200.0, 3600.0, " h"),
        Scale(172800.0, 86400.0, " d"),
    )
)

_SUFFIXES = {"bytes": BYTES, "seconds": SECONDS, "ratio": RATIO}
_RATES = frozenset({"rate", "irate", "deriv"})
_CHANGES_NOTHING = frozenset(
    {"increase", "delta", "idelta", "abs", "ceil", "floor", "round", "clamp", "clamp_min", "clamp_max", "sort"}
    | {
        "sort_desc",
        "label_replace",
        "label_join",
        "predict_linear",
        "holt_winters",
        "histogram_quantile",
        "last_over_time",
    }
    | {"avg_over_time", "min_over_time", "max_over_time", "sum_over_time", "quantile_over_time", "stddev_over_time"}
)
_COUNTS = frozenset({"count", "count_values", "group", "stdvar"})


def of(tree: promql.Expr) -> Unit:
    """The unit of what it answers; PLAIN where nothing can be said."""
    if isinstance(tree, promql.ParenExpr | promql.UnaryExpr | promql.SubqueryExpr):
        return of(tree.expr)
    if isinstance(tree, promql.AggregateExpr):
        return PLAIN if str(tree.op) in _COUNTS else of(tree.expr)
    if isinstance(tree, promql.BinaryExpr):
        return _of_both(tree)
    if isinstance(tree, promql.Call):
        return _of_call(tree)
    if isinstance(tree, promql.MatrixSelector):
        return of_metric(tree.vector_selector.name or "")
    return of_metric(tree.name or "") if isinstance(tree, promql.VectorSelector) else PLAIN


def of_metric(name: str) -> Unit:
    """By the name's end; recording rules end in `:ratio`."""
    base = name.removesuffix("_total").removesuffix("_bucket").removesuffix("_sum")
    return _SUFFIXES.get(base.replace(":", "_").rpartition("_")[2], PLAIN)


def digits(value: float) -> str:
    """Three digits at most, as people write them."""
    size = abs(value)
    if size == 0:
        return "0"
    if size < 0.001 or size >= 1e6:
        return f"{value:.2g}"
    if size >= 100:
        return f"{value:.0f}"
    return f"{value:.{1 if size >= 10 else 2 if size >= 0.1 else 3}f}".rstrip("0").rstrip(".")


def _of_both(tree: promql.BinaryExpr) -> Unit:
    """Of a sum or difference: what both sides are, a plain number aside; of anything else nothing is known."""
    if str(tree.op) not in ("+", "-", "and", "unless", "or"):
        return PLAIN
    left, right = tree.lhs, tree.rhs
    if str(tree.op) in ("and", "unless") or isinstance(right, promql.NumberLiteral):
        return of(left)
    if isinstance(left, promql.NumberLiteral):
        return of(right)
    unit = of(left)
    return unit if unit == of(right) else PLAIN


def _of_call(tree: promql.Call) -> Unit:
    vector = next((one for one in tree.args if not isinstance(one, promql.NumberLiteral | promql.StringLiteral)), None)
    inner = of(vector) if vector is not None else PLAIN
    if tree.func.name in _RATES:
        return {BYTES: BYTES_PER_SECOND, PLAIN: PER_SECOND}.get(inner, PLAIN)
    if tree.func.name == "time":
        return SECONDS
    return inner if tree.func.name in _CHANGES_NOTHING else PLAIN


def _to(first: str, second: str) -> str:
    return " to " if "-" in first + second or "e" in first + second else "–"
