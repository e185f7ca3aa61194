"""Our answers beside those of a real Prometheus that has the same samples."""

from __future__ import annotations

import os
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from tests.forecaster.queryapi import expressions
from tests.forecaster.queryapi.conftest import START, Ask, compare

CASES = int(os.environ.get("CLOUDPULSE_QUERY_CASES", "200"))
NOW: dict[str, Any] = {"time": START + 600}
LATE: dict[str, Any] = {"time": START + 1500.5}
SPAN: dict[str, Any] = {"start": START - 120, "end": START + 1300, "step": 47}
MOVES_WITH_THE_STEP = ("predict_linear(", " @ ")
"""Prometheus 2.42 moves the window of predict_linear along in a range query although `@` pins it; ours stands."""


def differences(ours: Ask, theirs: Ask, asked: list[str], path: str, **form: Any) -> list[str]:
    found = []
    for query in asked:
        if path == "query_range" and all(sign in query for sign in MOVES_WITH_THE_STEP):
            continue
        different = compare(ours(path, query=query, **form), theirs(path, query=query, **form))
        if different:
            found.append(f"{query}: {different}")
    return found


TABLES = ("SELECTORS", "RANGES", "ELEMENTWISE", "DATES", "AGGREGATIONS", "BINARY", "SETS", "OTHERS", "ERRORS")


@pytest.mark.parametrize("table", TABLES)
def test_instant_answers_are_those_of_prometheus(ours: Ask, theirs: Ask, table: str) -> None:
    assert differences(ours, theirs, getattr(expressions, table), "query", **NOW) == []


@pytest.mark.parametrize("table", TABLES)
def test_range_answers_are_those_of_prometheus(ours: Ask, theirs: Ask, table: str) -> None:
    assert differences(ours, theirs, getattr(expressions, table), "query_range", **SPAN) == []


@pytest.mark.parametrize("table", ["SELECTORS", "OTHERS"])
def test_where_samples_end_answers_are_those_of_prometheus(ours: Ask, theirs: Ask, table: str) -> None:
    assert differences(ours, theirs, getattr(expressions, table), "query", **LATE) == []


def test_vectors_come_in_the_order_of_prometheus(ours: Ask, theirs: Ask) -> None:
    for query in expressions.ORDERED:
        assert compare(ours("query", query=query, **NOW), theirs("query", query=query, **NOW), ordered=True) == ""


SELECTORS = st.sampled_from(
    ["load", 'load{job="api"}', "capacity", "odd", "requests_total", "turns", "slow", "flat", 'load{instance!="1"}',
     'cloudpulse_forecast_curve{level="0.5"}', "nosuch"]
)  # fmt: skip
SHIFTS = st.sampled_from(["", "", " offset 1m", " offset -45s", " @ 1700000400", " @ end()", " offset 2m @ start()"])
RANGES = st.sampled_from(["[1m]", "[3m]", "[290s]", "[15m]"])
NUMBERS = st.sampled_from(["0", "1", "-2.5", "7.25", "1e9", "scalar(flat)"])
LABELS = st.lists(st.sampled_from(["job", "instance", "region", "zone", "nosuch"]), max_size=2, unique=True).map(
    lambda names: f"({', '.join(names)})"
)
OVER_TIME = ["avg", "min", "max", "sum", "count", "stddev", "last", "present"]


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """One more level around expressions that are vectors.

    No `@` around another: Prometheus 2.42 loses itself there (avg_over_time of a constant isn't that constant).
    """
    elementwise = st.tuples(st.sampled_from(["abs", "ceil", "floor", "sgn", "sqrt", "round", "-", "timestamp"]), inner)
    aggregated = st.tuples(
        st.sampled_from(["sum", "min", "max", "avg", "count", "group", "quantile", "stddev"]),
        st.sampled_from(["by", "without"]),
        LABELS,
        inner,
    )
    operators = st.sampled_from(["+", "-", "*", "/", "%", "==", "!=", ">", "<=", "> bool", "and", "or", "unless"])
    matchings = st.one_of(st.just(""), st.tuples(st.sampled_from(["on", "ignoring"]), LABELS).map("".join))
    return st.one_of(
        elementwise.map(lambda it: f"{it[0]}({it[1]})"),
        aggregated.map(lambda it: f"{it[0]} {it[1]} {it[2]} ({'0.4, ' if it[0] == 'quantile' else ''}{it[3]})"),
        st.tuples(inner, operators, matchings, inner).map(lambda it: f"({it[0]}) {it[1]} {it[2]} ({it[3]})"),
        st.tuples(inner, st.sampled_from(["+", "*", ">", "< bool"]), NUMBERS).map(
            lambda it: f"({it[0]}) {it[1]} {it[2]}"
        ),
        st.tuples(st.sampled_from(OVER_TIME), inner, st.sampled_from(["[2m:20s]", "[5m:]"]), SHIFTS).map(
            lambda it: f"{it[0]}_over_time(({it[1]}){it[2]}{'' if '@' in it[1] else it[3]})"
        ),
        st.tuples(st.sampled_from(["+", "-", "/"]), LABELS, inner, inner, st.sampled_from(["left", "right"])).map(
            lambda it: f"({it[2]}) {it[0]} on {it[1]} group_{it[4]} ({it[3]})"
        ),
    )


LEAVES = st.one_of(
    st.tuples(SELECTORS, SHIFTS).map("".join),
    st.tuples(st.sampled_from(OVER_TIME), SELECTORS, RANGES, SHIFTS).map(
        lambda it: f"{it[0]}_over_time({it[1]}{it[2]}{it[3]})"
    ),
    st.tuples(st.sampled_from(["rate", "increase", "delta"]), RANGES).map(lambda it: f"{it[0]}(requests_total{it[1]})"),
    NUMBERS.map(lambda number: f"vector({number})"),
)


@settings(
    max_examples=CASES,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(query=st.recursive(LEAVES, _grown, max_leaves=5))
def test_whatever_the_grammar_makes_is_answered_as_by_prometheus(ours: Ask, theirs: Ask, query: str) -> None:
    for path, form in (("query", NOW), ("query_range", SPAN)):
        assert compare(ours(path, query=query, **form), theirs(path, query=query, **form)) == ""
