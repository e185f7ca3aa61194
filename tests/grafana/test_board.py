"""Laying out and writing a dashboard."""

from __future__ import annotations

import json
from typing import Any

import pytest
from grafana_foundation_sdk.models.dashboard import Panel

from grafana.board import Board, Row, rendered
from grafana.expressions import expressions
from grafana.panels import VALUES, Column, stat, table, timeseries
from grafana.queries import Query, band


def panel(title: str, width: int = 12, height: int = 8) -> Panel:
    return timeseries(title, "What it is.", "s", Query("up"), width=width, height=height)


def made(*rows: Row, alerts: str | None = None) -> dict[str, Any]:
    whole: dict[str, Any] = json.loads(rendered(Board("tried", "Tried", "To try.", rows, alerts=alerts)))
    return whole


def places(board: dict[str, Any]) -> dict[str, tuple[int, int]]:
    return {one["title"]: (one["gridPos"]["x"], one["gridPos"]["y"]) for one in board["panels"]}


def test_panels_go_to_the_next_line_where_a_line_is_full_below_the_tallest() -> None:
    row = Row("One", [panel("a", height=8), panel("b", height=5), panel("c"), panel("d", 24)])
    board = made(row, Row("Two", [panel("e")]))
    assert places(board) == {
        "One": (0, 0), "a": (0, 1), "b": (12, 1), "c": (0, 9), "d": (0, 17), "Two": (0, 25), "e": (0, 26)
    }  # fmt: skip
    assert [one["id"] for one in board["panels"]] == [1, 2, 3, 4, 5, 6, 7]


def test_a_collapsed_row_holds_its_panels_and_their_expressions_are_still_found() -> None:
    board = made(Row("Closed", [panel("inner")], collapsed=True), Row(None, [panel("after")]))
    closed, after = board["panels"]
    assert [one["title"] for one in closed["panels"]] == ["inner"]
    assert after["title"] == "after"
    assert [one.place for one in expressions(board)] == ["inner", "after"]


def test_a_band_is_one_area_without_lines_and_one_entry_in_the_legend() -> None:
    (drawn,) = made(Row(None, [timeseries("t", "d.", "s", *band("low", "high"))]))["panels"]
    lower, upper = (
        {one["id"]: one["value"] for one in override["properties"]} for override in drawn["fieldConfig"]["overrides"]
    )
    assert lower["custom.lineWidth"] == upper["custom.lineWidth"] == 0
    assert lower["custom.hideFrom"]["legend"]
    assert "custom.hideFrom" not in upper
    assert upper["custom.fillBelowTo"] == drawn["targets"][0]["legendFormat"]
    assert [target["expr"] for target in drawn["targets"]] == ["low", "high"]


def test_a_number_is_of_one_moment_unless_its_past_is_drawn_behind_it() -> None:
    """The last of a range may be hours old: of a series that is gone, it would pass for new."""
    alone, line = made(
        Row(None, [stat("a", "d.", "s", Query("up")), stat("b", "d.", "s", Query("up"), sparkline=True)])
    )["panels"]
    assert alone["targets"][0]["instant"]
    assert not line["targets"][0]["instant"]


@pytest.mark.parametrize(("queries", "value"), [(1, "Value"), (2, "Value #A")])
def test_a_tables_value_is_called_as_grafana_calls_it_alone_and_among_others(queries: int, value: str) -> None:
    columns = [Column("job", "Job"), *(Column(VALUES[k], f"Number {k}", "s") for k in range(queries))]
    (drawn,) = made(Row(None, [table("t", "d.", *[Query("up")] * queries, columns=columns, sort="Job")]))["panels"]
    (step,) = [step for step in drawn["transformations"] if step["id"] == "organize"]
    assert step["options"]["renameByName"][value] == "Number 0"


def test_alerts_are_marked_only_where_asked_for() -> None:
    assert made(Row(None, [panel("a")]))["annotations"]["list"] == []
    (marks,) = made(Row(None, [panel("a")]), alerts='forecast="x"')["annotations"]["list"]
    assert marks["expr"] == 'ALERTS{alertstate="firing", forecast="x"}'
