"""From text to a tree of nodes: the parser's tree, checked for what the subset leaves out."""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import promql_parser

from cloudpulse.matcher import Matcher
from forecaster.queryapi import lexing, nodes
from forecaster.queryapi.functions import FUNCTIONS
from forecaster.queryapi.lexing import DEEPEST, Masked
from forecaster.queryapi.operators import AGGREGATIONS, BINARY
from forecaster.queryapi.refusals import BadQuery, unsupported

_OPERATORS = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}
_SYNTAX = ("invalid promql query", "unexpected", "unclosed", "no expression", "bad number", "unterminated")
_QUOTED = re.compile(r"['\"]([^'\"]+)['\"]")
_FILLINGS = ("", " x", "x", "1m", "(x)", '"x"', '="x"', 'x="x"', " (x) x", " (x) (x)", " 1")
"""What may stand between the beginning of a query and its end, one for each place that a query can break off at."""


def parse(text: str) -> nodes.Node:
    """The tree of a query. Raises BadQuery for what isn't PromQL, Refused for what the subset leaves out."""
    masked = lexing.masked(text)
    try:
        tree = _guarded(lambda: promql_parser.parse(" ".join(masked.words)))
    except ValueError as error:
        raise BadQuery(_explained(str(error), masked)) from None
    return _Reading(masked).node(tree, 0)


def selector(text: str) -> tuple[Matcher, ...]:
    """The matchers of a plain selector, as in `match[]`. Raises BadQuery."""
    node = parse(text)
    if not isinstance(node, nodes.Selector) or node.shift != nodes.Shift():
        raise BadQuery(f"expected a series selector, got {text}")
    return node.matchers


def _guarded(work: Callable[[], Any]) -> Any:
    """A panic of the parser, in Rust, is a BaseException, which would end the server's thread."""
    try:
        return work()
    except (ValueError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise ValueError(f"the parser failed: {error}") from error


def _explained(message: str, masked: Masked) -> str:
    message = masked.restored(message)
    if message.startswith(_SYNTAX):
        return _unexpected(masked)
    for word in _QUOTED.findall(message):
        for token in masked.tokens:
            if token.text == word:
                return f"{masked.where(token.start)}: parse error: {message}"
    return f"parse error: {message}"


def _unexpected(masked: Masked) -> str:
    """Where it stops being PromQL: after the longest beginning that some end would make a query of."""
    count = bisect.bisect_left(range(1, len(masked.words) + 1), True, key=lambda n: not _viable(masked, n))
    if count == len(masked.tokens):
        return f"{masked.where(len(masked.text))}: parse error: unexpected end of input"
    token = masked.tokens[count]
    return f"{masked.where(token.start)}: parse error: unexpected {token.text!r}"


def _viable(masked: Masked, count: int) -> bool:
    words = masked.words[:count]
    open_ = []
    for word in words:
        if word in lexing.PAIRS:
            open_.append(lexing.PAIRS[word])
        elif open_ and word == open_[-1]:
            open_.pop()
    closing = " ".join(reversed(open_))
    beginning = " ".join(words)
    return any(_reads(f"{beginning}{filling} {closing}{rest}") for filling in _FILLINGS for rest in ("", " x"))


def _reads(text: str) -> bool:
    try:
        _guarded(lambda: promql_parser.parse(text))
    except ValueError as error:
        return not str(error).startswith(_SYNTAX)
    return True


class _Reading:
    """From the parser's tree to ours; `masked` knows what its placeholders stand for."""

    def __init__(self, masked: Masked) -> None:
        self._masked = masked

    def node(self, tree: Any, depth: int) -> nodes.Node:
        if depth > DEEPEST:
            raise lexing.too_deep()
        kind = type(tree).__name__
        if kind == "ParenExpr":
            return self.node(tree.expr, depth + 1)
        if kind == "NumberLiteral":
            return nodes.Number(tree.val)
        if kind == "StringLiteral":
            return nodes.Text(self._text(tree.val))
        if kind == "UnaryExpr":
            return nodes.Negation(self.node(tree.expr, depth + 1))
        if kind == "VectorSelector":
            return self._selector(tree)
        if kind == "MatrixSelector":
            return nodes.Range(self._selector(tree.vector_selector), _milliseconds(tree.range))
        compound: dict[str, Callable[[Any, int], nodes.Node]] = {
            "SubqueryExpr": self._subquery,
            "Call": self._call,
            "AggregateExpr": self._aggregate,
            "BinaryExpr": self._binary,
        }
        return compound[kind](tree, depth + 1)

    def _text(self, text: str) -> str:
        return self._masked.restored(text)

    def _selector(self, tree: Any) -> nodes.Selector:
        if tree.matchers.or_matchers:
            raise unsupported('"or" between matchers')
        named = [Matcher("__name__", "=", tree.name)] if tree.name else []
        listed = [self._matcher(one) for one in tree.matchers.matchers]
        if not named and all(one.matches({}) for one in listed):
            raise BadQuery("parse error: vector selector must contain at least one non-empty matcher")
        return nodes.Selector((*named, *listed), self._shift(tree))

    def _matcher(self, one: Any) -> Matcher:
        operator = _OPERATORS[str(one.op).rpartition(".")[2]]
        try:
            return Matcher(self._text(one.name), operator, self._text(one.value))
        except ValueError as error:
            raise BadQuery(f"parse error: {error}") from error

    def _shift(self, tree: Any) -> nodes.Shift:
        offset = 0 if tree.offset is None else _milliseconds(tree.offset)
        if tree.at is None:
            return nodes.Shift(offset)
        kind = str(tree.at.type).rpartition(".")[2]
        if kind != "At":
            return nodes.Shift(offset, kind.lower())
        return nodes.Shift(offset, _rounded(self._masked.moments[round(tree.at.at.timestamp())] * 1000))

    def _subquery(self, tree: Any, depth: int) -> nodes.Subquery:
        step = None if tree.step is None else _milliseconds(tree.step)
        return nodes.Subquery(self.node(tree.expr, depth), _milliseconds(tree.range), step, self._shift(tree))

    def _call(self, tree: Any, depth: int) -> nodes.Call:
        name = tree.func.name
        if name not in FUNCTIONS:
            raise unsupported(f"function {name}()")
        return nodes.Call(name, tuple(self.node(one, depth) for one in tree.args))

    def _aggregate(self, tree: Any, depth: int) -> nodes.Aggregate:
        operator = str(tree.op)
        if operator not in AGGREGATIONS:
            raise unsupported(f"aggregation {operator}")
        labels = frozenset(map(self._text, tree.modifier.labels if tree.modifier else ()))
        without = tree.modifier is not None and str(tree.modifier.type).endswith("Without")
        parameter = None if tree.param is None else self.node(tree.param, depth)
        return nodes.Aggregate(operator, self.node(tree.expr, depth), parameter, labels, without)

    def _binary(self, tree: Any, depth: int) -> nodes.Binary:
        operator = str(tree.op)
        if operator not in BINARY:
            raise unsupported(f"operator {operator}")
        left, right = self.node(tree.lhs, depth), self.node(tree.rhs, depth)
        modifier = tree.modifier
        if modifier is None:
            return nodes.Binary(operator, left, right, nodes.Matching(), False)
        fill = modifier.fill_values
        if fill is not None and (fill.lhs is not None or fill.rhs is not None):
            raise unsupported("fill")
        card = str(modifier.card).rpartition(".")[2]
        many = {"ManyToOne": "left", "OneToMany": "right"}.get(card, "")
        labels = frozenset(map(self._text, modifier.matching.labels if modifier.matching else ()))
        on = modifier.matching is not None and str(modifier.matching.type).endswith("Include")
        taken = tuple(map(self._text, modifier.group_labels or ()))
        return nodes.Binary(operator, left, right, nodes.Matching(labels, on, many, taken), modifier.return_bool)


def _milliseconds(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1)


def _rounded(value: float) -> int:
    """To the nearest, halves away from zero, as Go."""
    return int(value + 0.5) if value >= 0 else -int(0.5 - value)
