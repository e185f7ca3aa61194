"""The evaluator: a tree and times of evaluation in, values out. Semantics are those of Prometheus 2.42."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cloudpulse.matcher import Matcher
from forecaster.curves import Block, Hold
from forecaster.queryapi import nodes
from forecaster.queryapi.aggregation import aggregate
from forecaster.queryapi.elementwise import DATES, ELEMENTWISE
from forecaster.queryapi.functions import SPECIAL
from forecaster.queryapi.matching import combine
from forecaster.queryapi.refusals import BadQuery
from forecaster.queryapi.values import (
    Bools,
    Budget,
    Floats,
    Key,
    Raw,
    Result,
    Scalar,
    Text,
    Times,
    Vector,
    empty,
    key_of,
    nameless,
    vector,
    without_names,
)
from forecaster.queryapi.windows import WINDOWS, Reduction, Window

LOOK_BACK = 300_000
"""Milliseconds that a sample counts for, its own and the last included: Prometheus' default."""
SUBQUERY_STEP = 60_000
"""Milliseconds between the points of a subquery that doesn't say: Prometheus' default evaluation interval."""
_EARLIEST, _LATEST = -(2**62), 2**62

Select = Callable[[Sequence[Matcher], float, float, Hold], Sequence[Block]]
"""Samples of the series that fulfil matchers, between two Unix times, both included."""


@dataclass(frozen=True)
class Evaluator:
    """Evaluates one query; `start` and `end` are those of the whole query, Unix ms, as `@` names them.

    Methods raise Refused where Prometheus refuses, and where the budget is spent.
    """

    select: Select
    budget: Budget
    start: int
    end: int

    def result(self, node: nodes.Node, times: Times) -> Result:
        """The value of any node but a range, at each of `times`."""
        self.budget.go_on()
        match node:
            case nodes.Number(value):
                return Scalar(np.full(len(times), value))
            case nodes.Text(text):
                return Text(text)
            case nodes.Selector():
                return self._selected(node, times)
            case nodes.Call():
                return self._called(node, times)
            case nodes.Aggregate():
                parameter = None if node.parameter is None else self.scalar(node.parameter, times).values
                of = self.vector(node.inner, times)
                return aggregate(node.operator, of, parameter, node.labels, node.without)
            case nodes.Binary():
                left, right = self._operand(node.left, times), self._operand(node.right, times)
                return combine(node.operator, left, right, node.matching, node.as_bool, self.budget)
            case nodes.Negation(inner):
                operand = self._operand(inner, times)
                if isinstance(operand, Scalar):
                    return Scalar(-operand.values)
                return without_names(operand, -operand.values, apart=True)
        raise BadQuery("a range has no value at a time: put it into a function such as max_over_time()")

    def vector(self, node: nodes.Node, times: Times) -> Vector:
        """The value of a node that the parser knows to be a vector."""
        value = self.result(node, times)
        assert isinstance(value, Vector)
        return value

    def scalar(self, node: nodes.Node, times: Times) -> Scalar:
        """The value of a node that the parser knows to be a scalar."""
        value = self.result(node, times)
        assert isinstance(value, Scalar)
        return value

    def ages(self, selector: nodes.Selector, times: Times) -> Vector:
        """When each sample of a selector is of, Unix seconds."""
        return self._newest(selector, times, lambda raw, index: raw.times[index] / 1000.0, nameless)

    def reduced(self, call: nodes.Call, times: Times) -> Vector:
        """A function of a range."""
        reduction = WINDOWS[call.function]
        ranges = [one for one in call.arguments if isinstance(one, nodes.Range | nodes.Subquery)]
        numbers = [self.scalar(one, times).values for one in call.arguments if one not in ranges]
        raws, starts, ends = self._range(ranges[0], times)
        parts = [self._windows(reduction, raw, times, starts, ends, numbers) for raw in raws]
        if not parts:
            return empty(len(times))
        keys = [key if reduction.keeps_name else nameless(key) for raw in raws for key in raw.keys]
        values, present = (np.concatenate(column) for column in zip(*parts, strict=True))
        return vector(keys, values, present, apart=True)

    def raw(self, node: nodes.Range | nodes.Subquery, at: int) -> list[Raw]:
        """The samples of a range as they are, at one time."""
        raws, starts, ends = self._range(node, np.array([at], np.int64))
        cut = []
        for raw in raws:
            low, high = np.searchsorted(raw.times, starts[0]), np.searchsorted(raw.times, ends[0], side="right")
            present = raw.present[:, low:high]
            rows = np.flatnonzero(present.any(1))
            keys = [raw.keys[i] for i in rows.tolist()]
            cut.append(Raw(keys, raw.times[low:high], raw.values[rows, low:high], present[rows]))
        return cut

    def _operand(self, node: nodes.Node, times: Times) -> Scalar | Vector:
        value = self.result(node, times)
        assert not isinstance(value, Text)
        return value

    def _called(self, call: nodes.Call, times: Times) -> Scalar | Vector:
        name = call.function
        if name in WINDOWS:
            return self.reduced(call, times)
        if name in SPECIAL:
            return SPECIAL[name](self, call, times)
        if name in DATES:
            if not call.arguments:
                values = DATES[name](times[None] / 1000.0)
                return Vector([()], values, np.ones(values.shape, bool))
            of = self.vector(call.arguments[0], times)
            return without_names(of, np.where(np.isnan(of.values), np.nan, DATES[name](of.values)))
        of = self.vector(call.arguments[0], times)
        numbers = [self.scalar(one, times).values for one in call.arguments[1:]]
        present = of.present
        if name == "clamp":
            present = present & ~(numbers[1] < numbers[0])
        return without_names(of, ELEMENTWISE[name](of.values, *numbers), present)

    def _selected(self, node: nodes.Selector, times: Times) -> Vector:
        return self._newest(node, times, None, None)

    def _newest(
        self,
        node: nodes.Selector,
        times: Times,
        what: Callable[[Raw, Times], Floats] | None,
        name: Callable[[Key], Key] | None,
    ) -> Vector:
        """Each series' newest sample that isn't too old at each time, by labels; `what` of it, its value if None."""
        looked = self._looked(node.shift, times)
        raws = self._load(node.matchers, int(looked.min()) - LOOK_BACK, int(looked.max()))
        if not raws:
            return empty(len(times))
        parts = []
        for raw in raws:
            self.budget.hold(len(raw.keys), len(times))
            index, present = _newest(raw, looked)
            values = np.take_along_axis(raw.values, index, 1) if what is None else what(raw, index)
            parts.append((values, np.broadcast_to(present, values.shape)))
        keys = [key for raw in raws for key in raw.keys]
        values, present = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = sorted(range(len(keys)), key=keys.__getitem__)
        keys = [keys[i] if name is None else name(keys[i]) for i in order]
        return vector(keys, values[order], present[order])

    def _looked(self, shift: nodes.Shift, times: Times) -> Times:
        """The times that are looked at when it is evaluated at `times`."""
        if shift.at is None:
            return times - shift.offset
        at = {"start": self.start, "end": self.end}[shift.at] if isinstance(shift.at, str) else shift.at
        return np.full(len(times), at - shift.offset)

    def _load(self, matchers: Sequence[Matcher], start: int, end: int) -> list[Raw]:
        raws = []
        for block in self.select(matchers, start / 1000.0, end / 1000.0, self.budget.load):
            times = np.rint(block.times * 1000.0).astype(np.int64)
            raws.append(Raw([key_of(one) for one in block.labels], times, block.values, ~np.isnan(block.values)))
        return raws

    def _range(self, node: nodes.Range | nodes.Subquery, times: Times) -> tuple[list[Raw], Times, Times]:
        """Samples, and from when to when they count at each time, both included."""
        shift = node.selector.shift if isinstance(node, nodes.Range) else node.shift
        ends = self._looked(shift, times)
        starts = ends - node.length
        if isinstance(node, nodes.Range):
            return self._load(node.selector.matchers, int(starts.min()), int(ends.max())), starts, ends
        step = SUBQUERY_STEP if node.step is None else node.step
        first = -(-int(starts.min()) // step) * step
        count = max(0, (int(ends.max()) - first) // step + 1)
        self.budget.hold(1, count)
        inner = first + step * np.arange(count)
        value = self._operand(node.inner, inner) if count else empty(0)
        if isinstance(value, Scalar):
            value = Vector([()], value.values[None], np.ones((1, count), bool))
        return [Raw(value.keys, inner, value.values, value.present)], starts, ends

    def _windows(
        self, reduction: Reduction, raw: Raw, times: Times, starts: Times, ends: Times, numbers: Sequence[Floats]
    ) -> tuple[Floats, Bools]:
        self.budget.hold(len(raw.keys), len(times))
        values = np.zeros((len(raw.keys), len(times)))
        present = np.zeros(values.shape, bool)
        lows, highs = np.searchsorted(raw.times, starts), np.searchsorted(raw.times, ends, side="right")
        for j in np.flatnonzero(highs > lows).tolist():
            self.budget.go_on()
            cut = slice(lows[j], highs[j])
            window = Window(
                raw.values[:, cut], raw.present[:, cut], raw.times[cut], int(starts[j]), int(ends[j]), int(times[j])
            )
            values[:, j] = reduction.of(window, *(number[j] for number in numbers))
            present[:, j] = window.counts >= reduction.least
        return values, present


def _newest(raw: Raw, looked: Times) -> tuple[Times, Bools]:
    """Positions of the newest samples, and whether they are new enough; [series or 1, time]."""
    position = np.searchsorted(raw.times, looked, side="right") - 1
    if not len(raw.times):
        none = np.zeros((len(raw.keys), len(looked)))
        return none.astype(np.int64), none.astype(bool)
    known = position >= 0
    position = np.maximum(position, 0)
    if raw.present.all():
        present = known & (raw.times[position] >= looked - LOOK_BACK)
        return np.broadcast_to(position, (len(raw.keys), len(looked))), present
    last = np.maximum.accumulate(np.where(raw.present, np.arange(len(raw.times)), -1), axis=1)
    index = np.where(known, last[:, position], -1)
    return np.maximum(index, 0), (index >= 0) & (raw.times[np.maximum(index, 0)] >= looked - LOOK_BACK)
