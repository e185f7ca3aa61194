"""An alert's expression, read: what is compared with what. The text comes from an alert, so it is data and bounded.

`generatorURL` is never fetched: only its query parameter `g0.expr` is read.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from urllib.parse import parse_qs, urlsplit

import promql_parser as promql

from alert_bridge.insights import units
from alert_bridge.insights.units import Unit

MOST_CHARACTERS = 4096
DEEPEST = 50
"""Brackets within brackets: the parser is recursive."""
MOST_OPERATORS = 80
"""Each look at a part of the tree copies it: the time grows with their cube, 3 s for 200."""
MOST_COMPANIONS = 3

_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
_FLIPPED = {">": "<", ">=": "<=", "<": ">", "<=": ">=", "==": "==", "!=": "!="}
_SETS = frozenset({"and", "or", "unless"})
_LITERAL = re.compile(r""""(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`[^`]*`|#[^\n]*""")
_OPERATOR = re.compile(r"[-+*/%^<>=!]|\b(?:and|or|unless|atan2)\b", re.IGNORECASE)
_BRACES = re.compile(r"\{[^}]*\}")
_MARK = re.compile(r'"cloudpulse_(\d+)"')


@dataclass(frozen=True)
class Condition:
    """One comparison of an alert: `left` `operator` threshold; PromQL, as Prometheus will parse it again.

    The threshold is a number in `limit`, or PromQL in `against`. Without a comparison `operator` is empty. `metrics`
    are the names that `left` reads, `companions` other sides of an `and`, which say what else must be there.
    """

    left: str
    operator: str = ""
    limit: float | None = None
    against: str = ""
    metrics: tuple[str, ...] = ()
    unit: Unit = units.PLAIN
    companions: tuple[str, ...] = ()

    @property
    def sign(self) -> int:
        """1 where it fires above the threshold, -1 below, 0 where that can't be said."""
        return {">": 1, ">=": 1, "<": -1, "<=": -1}.get(self.operator, 0)

    def holds(self, value: float) -> bool:
        """Whether it fires at this value; True where that can't be said."""
        return self.limit is None or not self.operator or _COMPARE[self.operator](value, self.limit)


def of_url(generator_url: str) -> str:
    """The expression in a generatorURL, "" where there is none."""
    try:
        found = parse_qs(urlsplit(generator_url).query, max_num_fields=20).get("g0.expr", [""])
    except ValueError:
        return ""
    return found[0]


def condition(expression: str) -> Condition | None:
    """Its first comparison with a number, else its first with something else, else all of it; None if it can't be read.

    String literals are set aside for the parser, whose escaping isn't Go's, and put back as they were.
    """
    if not expression.strip() or len(expression) > MOST_CHARACTERS:
        return None
    literals: list[str] = []

    def aside(match: re.Match[str]) -> str:
        if match[0].startswith("#"):
            return " "
        literals.append(match[0])
        return f'"cloudpulse_{len(literals) - 1}"'

    bare = _LITERAL.sub(aside, expression)
    if _depth(bare) > DEEPEST or len(_OPERATOR.findall(_BRACES.sub("", bare))) > MOST_OPERATORS:
        return None
    try:
        tree = promql.parse(bare)
        comparisons = list(_comparisons(tree))
    except (ValueError, RecursionError):
        return None
    text = partial(_text, literals)
    if not comparisons:
        return Condition(text(tree), metrics=metrics(tree), unit=units.of(tree))
    chosen = next((one for one in comparisons if _number(one.lhs) is not None or _number(one.rhs) is not None), None)
    chosen = chosen or comparisons[0]
    others = [side for side in _sides(tree) if side is not chosen and str(side) != str(chosen)]
    return _condition(chosen, tuple(text(side) for side in others[:MOST_COMPANIONS]), text)


def metrics(tree: promql.Expr) -> tuple[str, ...]:
    """The names of the metrics that are read, in order, each once."""
    found: dict[str, None] = {}

    def visit(node: promql.Expr) -> bool:
        if isinstance(node, promql.VectorSelector) and node.name:
            found[node.name] = None
        return True

    promql.walk(tree, visit)
    return tuple(found)


def _condition(chosen: promql.BinaryExpr, companions: tuple[str, ...], text: Callable[[promql.Expr], str]) -> Condition:
    left, right, sign = chosen.lhs, chosen.rhs, str(chosen.op)
    if _number(left) is not None or _scalar(left):
        left, right, sign = right, left, _FLIPPED[sign]
    limit = _number(right)
    against = "" if limit is not None else f"vector({text(right)})" if _scalar(right) else text(right)
    return Condition(text(left), sign, limit, against, metrics(left), units.of(left), companions)


def _comparisons(tree: promql.Expr) -> Iterator[promql.BinaryExpr]:
    """Those at the top, and under `and`, `or` and the left side of `unless`."""
    tree = _bare(tree)
    if not isinstance(tree, promql.BinaryExpr):
        return
    sign = str(tree.op)
    if sign in _FLIPPED:
        yield tree
    elif sign in _SETS:
        yield from _comparisons(tree.lhs)
        if sign != "unless":
            yield from _comparisons(tree.rhs)


def _sides(tree: promql.Expr) -> Iterator[promql.Expr]:
    """What is joined by `and`; of `unless` the left side."""
    tree = _bare(tree)
    if isinstance(tree, promql.BinaryExpr) and str(tree.op) in ("and", "unless"):
        yield from _sides(tree.lhs)
        if str(tree.op) == "and":
            yield from _sides(tree.rhs)
    else:
        yield tree


def _bare(tree: promql.Expr) -> promql.Expr:
    while isinstance(tree, promql.ParenExpr):
        tree = tree.expr
    return tree


def _number(tree: promql.Expr) -> float | None:
    """The number that is written, with its sign."""
    tree = _bare(tree)
    if isinstance(tree, promql.NumberLiteral):
        return tree.val
    if isinstance(tree, promql.UnaryExpr):
        inner = _number(tree.expr)
        return None if inner is None else -inner
    return None


def _scalar(tree: promql.Expr) -> bool:
    tree = _bare(tree)
    if isinstance(tree, promql.BinaryExpr):
        return _scalar(tree.lhs) and _scalar(tree.rhs)
    if isinstance(tree, promql.UnaryExpr):
        return _scalar(tree.expr)
    if isinstance(tree, promql.Call):
        return bool(tree.func.return_type == promql.ValueType.Scalar)
    return isinstance(tree, promql.NumberLiteral)


def _text(literals: list[str], tree: promql.Expr) -> str:
    return _MARK.sub(lambda match: literals[int(match[1])], str(tree))


def _depth(text: str) -> int:
    deepest = depth = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return deepest
