"""One query from its text to the JSON of its result."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import numpy as np

from forecaster.queryapi import nodes, wording
from forecaster.queryapi.evaluate import Evaluator, Select
from forecaster.queryapi.parse import parse
from forecaster.queryapi.refusals import BadQuery, Unavailable
from forecaster.queryapi.values import Budget, Result, Scalar, Text, Vector
from forecaster.room import Full, Room

MOST_AT_ONCE, MOST_WAITING = 2, 8
"""Queries that are evaluated at a time, and that wait: they share memory and processors with the forecasts."""


class Queries:
    """Answers queries over the series that `select` gives. For several threads."""

    def __init__(self, select: Select) -> None:
        self._select = select
        self._room = Room(MOST_AT_ONCE, MOST_WAITING)

    def instant(self, text: str, at: int, timeout: float, limit: int = 0) -> tuple[list[bytes], bool]:
        """The data of an answer, in pieces, for Unix ms `at`, and whether `limit` (0: none) cut it. Raises Refused."""
        with self.place(timeout) as budget:
            node = _parsed(text)
            evaluator = Evaluator(self._select, budget, at, at)
            if isinstance(node, nodes.Range | nodes.Subquery):
                return _data("matrix", wording.array(wording.ranges(evaluator.raw(node, at)))), False
            value = _quietly(evaluator, node, [at])
            if isinstance(value, Text):
                stamp = wording.seconds(at).encode()
                return _data("string", [b"[%b,%b]" % (stamp, msgspec.json.encode(value.value))]), False
            if isinstance(value, Scalar):
                return _data("scalar", [wording.point(at, float(value.values[0]))]), False
            value, cut = _limited(value, limit)
            return _data("vector", wording.array(wording.instant(value, at))), cut

    def range(
        self, text: str, start: int, end: int, step: int, timeout: float, limit: int = 0
    ) -> tuple[list[bytes], bool]:
        """The data of an answer, in pieces, for start, start + step, … up to `end`, Unix ms. Raises Refused."""
        with self.place(timeout) as budget:
            node = _parsed(text)
            kind = {nodes.Range: "range vector", nodes.Subquery: "range vector", nodes.Text: "string"}.get(type(node))
            if kind:
                raise BadQuery(f'invalid expression type "{kind}" for range query, must be Scalar or instant Vector')
            times = list(builtins.range(start, end + 1, step))
            value = _quietly(Evaluator(self._select, budget, start, end), node, times)
            if isinstance(value, Scalar):
                value = Vector([()], value.values[None], np.ones((1, len(times)), bool))
            assert isinstance(value, Vector)
            value, cut = _limited(value, limit)
            parts = wording.matrix(value.keys, np.array(times, np.int64), value.values, value.present)
            return _data("matrix", wording.array(parts)), cut

    @contextmanager
    def place(self, timeout: float) -> Iterator[Budget]:
        """What one query may take, waiting for its turn included. Raises Unavailable."""
        budget = Budget(timeout)
        try:
            with self._room.place(timeout):
                yield budget
        except Full as error:
            raise Unavailable(f"cloudpulse: {error}") from error


def _parsed(text: str) -> nodes.Node:
    try:
        return parse(text)
    except BadQuery as error:
        raise BadQuery(f'invalid parameter "query": {error}') from error


def _quietly(evaluator: Evaluator, node: nodes.Node, times: list[int]) -> Result:
    """Evaluate; that 0/0 is NaN is PromQL and nothing to warn of."""
    with np.errstate(all="ignore"):
        return evaluator.result(node, np.array(times, np.int64))


def _limited(value: Vector, limit: int) -> tuple[Vector, bool]:
    if not limit or len(value.keys) <= limit:
        return value, False
    return Vector(value.keys[:limit], value.values[:limit], value.present[:limit]), True


def _data(kind: str, result: list[bytes]) -> list[bytes]:
    return [b'{"resultType":"%b","result":' % kind.encode(), *result, b"}"]
