"""Functions by name: those of values and ranges have tables of their own, the rest look at labels or at the time."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

import numpy as np

from cloudpulse.matcher import Matcher, compiled
from forecaster.queryapi import nodes
from forecaster.queryapi.elementwise import DATES, ELEMENTWISE
from forecaster.queryapi.refusals import Refused
from forecaster.queryapi.values import Bools, Key, Result, Scalar, Times, Vector, vector, without_names
from forecaster.queryapi.windows import WINDOWS

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
_GROUP = re.compile(r"\$(?:\$|(\w+)|\{(\w+)\})", re.ASCII)


class Evaluates(Protocol):
    """What evaluates arguments."""

    def result(self, node: nodes.Node, times: Times) -> Result:
        """Of any node but a range."""

    def vector(self, node: nodes.Node, times: Times) -> Vector:
        """Of a node that is a vector."""

    def scalar(self, node: nodes.Node, times: Times) -> Scalar:
        """Of a node that is a scalar."""

    def ages(self, selector: nodes.Selector, times: Times) -> Vector:
        """When a selector's samples are of, Unix seconds."""

    def reduced(self, call: nodes.Call, times: Times) -> Vector:
        """Of a function of a range."""


def _time(_: Evaluates, __: nodes.Call, times: Times) -> Scalar:
    return Scalar(times / 1000.0)


def _pi(_: Evaluates, __: nodes.Call, times: Times) -> Scalar:
    return Scalar(np.full(len(times), np.pi))


def _timestamp(evaluator: Evaluates, call: nodes.Call, times: Times) -> Vector:
    (inner,) = call.arguments
    if isinstance(inner, nodes.Selector):
        return evaluator.ages(inner, times)
    of = evaluator.vector(inner, times)
    return without_names(of, np.broadcast_to(times / 1000.0, of.values.shape))


def _vector(evaluator: Evaluates, call: nodes.Call, times: Times) -> Vector:
    values = evaluator.scalar(call.arguments[0], times).values[None]
    return Vector([()], values, np.ones(values.shape, bool))


def _scalar(evaluator: Evaluates, call: nodes.Call, times: Times) -> Scalar:
    of = evaluator.vector(call.arguments[0], times)
    alone = of.present.sum(0) == 1
    return Scalar(np.where(alone, np.where(of.present, of.values, 0.0).sum(0), np.nan))


def _absent(evaluator: Evaluates, call: nodes.Call, times: Times) -> Vector:
    (inner,) = call.arguments
    matchers = inner.matchers if isinstance(inner, nodes.Selector) else ()
    return _missing(matchers, evaluator.vector(inner, times))


def _absent_over_time(evaluator: Evaluates, call: nodes.Call, times: Times) -> Vector:
    (inner,) = call.arguments
    matchers = inner.selector.matchers if isinstance(inner, nodes.Range) else ()
    return _missing(matchers, evaluator.reduced(nodes.Call("present_over_time", call.arguments), times))


def _missing(matchers: tuple[Matcher, ...], of: Vector) -> Vector:
    """1 where nothing is, with the labels that equal signs ask for once."""
    labels: dict[str, str] = {}
    seen: set[str] = set()
    for one in matchers:
        if one.name == "__name__":
            continue
        if one.operator == "=" and one.name not in seen:
            labels[one.name] = one.value
            seen.add(one.name)
        else:
            labels.pop(one.name, None)
    missing: Bools = ~np.logical_or.reduce(of.present, axis=0, keepdims=True)
    key = tuple(sorted((name, value) for name, value in labels.items() if value))
    return vector([key], np.ones(missing.shape), missing)


def _sorted(falling: bool) -> Callable[[Evaluates, nodes.Call, Times], Vector]:
    """At a single time, NaN at the end; a range query's series have an order of their own."""

    def function(evaluator: Evaluates, call: nodes.Call, times: Times) -> Vector:
        of = evaluator.vector(call.arguments[0], times)
        if len(times) > 1 or not of.keys:
            return of
        values = of.values[:, 0]
        order = np.lexsort((-values if falling else values, np.isnan(values)))
        return Vector([of.keys[i] for i in order.tolist()], of.values[order], of.present[order])

    return function


def _label_replace(evaluator: Evaluates, call: nodes.Call, times: Times) -> Vector:
    of = evaluator.vector(call.arguments[0], times)
    target, replacement, source, expression = _texts(call)
    try:
        pattern = compiled(expression)
    except ValueError as error:
        raise Refused(f"invalid regular expression in label_replace(): {expression}: {error}") from error
    _check_label(target, "destination", "label_replace")

    def replaced(key: Key) -> Key:
        labels = dict(key)
        match = pattern.search(labels.get(source, ""))
        return key if match is None else _with(labels, target, _expanded(replacement, match))

    return vector([replaced(key) for key in of.keys], of.values, of.present)


def _label_join(evaluator: Evaluates, call: nodes.Call, times: Times) -> Vector:
    of = evaluator.vector(call.arguments[0], times)
    target, separator, *sources = _texts(call)
    for source in sources:
        _check_label(source, "source", "label_join")
    _check_label(target, "destination", "label_join")

    def joined(key: Key) -> Key:
        labels = dict(key)
        return _with(labels, target, separator.join(labels.get(source, "") for source in sources))

    return vector([joined(key) for key in of.keys], of.values, of.present)


def _texts(call: nodes.Call) -> list[str]:
    return [one.value for one in call.arguments if isinstance(one, nodes.Text)]


def _check_label(name: str, which: str, function: str) -> None:
    if not _LABEL.fullmatch(name):
        raise Refused(f"invalid {which} label name in {function}(): {name}")


def _with(labels: dict[str, str], name: str, value: str) -> Key:
    labels.pop(name, None)
    if value:
        labels[name] = value
    return tuple(sorted(labels.items()))


def _expanded(template: str, match: re.Match[str]) -> str:
    """Go's Expand: `$1`, `${name}`, `$$`; a group that isn't there is empty."""

    def group(reference: re.Match[str]) -> str:
        name = reference[1] or reference[2]
        if name is None:
            return "$"
        try:
            return match.group(int(name) if name.isdecimal() else name) or ""
        except (IndexError, KeyError):
            return ""

    return _GROUP.sub(group, template)


SPECIAL: dict[str, Callable[[Evaluates, nodes.Call, Times], Scalar | Vector]] = {
    "absent": _absent,
    "absent_over_time": _absent_over_time,
    "label_join": _label_join,
    "label_replace": _label_replace,
    "pi": _pi,
    "scalar": _scalar,
    "sort": _sorted(falling=False),
    "sort_desc": _sorted(falling=True),
    "time": _time,
    "timestamp": _timestamp,
    "vector": _vector,
}
"""Of labels and times, and what makes one kind of value of another."""

FUNCTIONS = frozenset({*ELEMENTWISE, *DATES, *WINDOWS, *SPECIAL})
