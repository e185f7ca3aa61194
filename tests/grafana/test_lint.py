"""The rules of grafana/dashboard-linter (docs/rules), and what a set of dashboards needs besides.

Left out, with the reason: LogQL, since there is none.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import promql_parser as promql
import pytest
from grafana_foundation_sdk.models import units

from cloudpulse import names
from grafana.board import COLUMNS
from grafana.expressions import Expression, expressions, panels
from tests.grafana.labels import selectors
from tests.grafana.saved import DASHBOARDS, DURATIONS, EXPRESSIONS, filled, identifier

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
UNITS = {value for name, value in vars(units).items() if name[0] != "_" and isinstance(value, str)}
OF_FORECASTS = (
    "Forecast series keep `job` and `instance` of their source, so these don't say which forecaster: `$forecast` does."
)
NO_JOB_AND_INSTANCE = {
    "overview": OF_FORECASTS,
    "forecast": OF_FORECASTS,
    "accuracy": OF_FORECASTS,
    "scaling": "Replicas of a scaler evaluate the same rules, so theirs is shown as one: `$metric` says which.",
    "alerts": "Replicas of a bridge share one store, so what is shown is theirs together: `$receiver` says whose.",
    "itself": "It is about all of CloudPulse: `$job` picks services, and forecasts are named by `forecast`.",
}
"""Boards without the variables `job` and `instance` and their matchers in every query, and why."""
COUNTERS = {definition.name for definition in names.definitions() if definition.kind == "counter"} | {
    definition.name + suffix
    for definition in names.definitions()
    for suffix in ("_bucket", "_sum", "_count")
    if definition.kind == "histogram"
}
COUNTING = {"rate", "irate", "increase"}


BY_SCRAPE = sorted(DASHBOARDS.keys() - NO_JOB_AND_INSTANCE.keys())
PANELS = [
    pytest.param(panel, id=f"{name}-{panel['title']}") for name, board in DASHBOARDS.items() for panel in panels(board)
]


def variables(board: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [variable for variable in board["templating"]["list"] if variable["type"] == kind]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_has_exactly_one_data_source_and_lets_it_be_chosen(name: str) -> None:
    (source,) = variables(DASHBOARDS[name], "datasource")
    assert (source["name"], source["label"], source["query"]) == ("datasource", "Data source", "prometheus")
    assert "current" not in source, "a name that only one Grafana has"


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_variable_asks_the_data_source_anew_when_the_range_changes_and_is_used(name: str) -> None:
    board = DASHBOARDS[name]
    used = {name for expression in expressions(board) for name in expression.variables}
    for variable in variables(board, "query"):
        assert variable["refresh"] == 2
        assert variable["datasource"] == SOURCE
        assert variable["label"]
        assert variable["name"] in used
    assert used <= {variable["name"] for variable in board["templating"]["list"]} | DURATIONS.keys()


def test_a_dashboard_of_what_is_scraped_has_variables_for_job_and_instance() -> None:
    for name in BY_SCRAPE:
        queries = {variable["name"]: variable for variable in variables(DASHBOARDS[name], "query")}
        for label in ("job", "instance"):
            assert (queries[label]["multi"], queries[label]["allValue"]) == (True, ".+")


def test_every_query_of_what_is_scraped_matches_job_and_instance() -> None:
    for expression in itertools.chain.from_iterable(expressions(DASHBOARDS[name]) for name in BY_SCRAPE):
        for selector, _ in selectors(promql.parse(filled(expression))):
            name = str(selector.name)
            if name.startswith("cloudpulse_forecast_"):
                continue  # see OF_FORECASTS
            if name.startswith("cloudpulse_") and not expression.place.startswith("$"):
                matched = {matcher.name for matcher in selector.matchers.matchers}
                assert {"job", "instance"} <= matched, f"{expression.place}: {selector}"


def test_every_exclusion_is_of_a_dashboard_that_exists_and_has_a_reason() -> None:
    assert NO_JOB_AND_INSTANCE.keys() <= DASHBOARDS.keys()
    assert all(reason.endswith(".") for reason in NO_JOB_AND_INSTANCE.values())


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_has_a_title_a_description_a_unit_and_the_chosen_data_source(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["datasource"] == SOURCE
    assert panel["targets"]
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    for target in panel["targets"]:
        assert target["datasource"] == SOURCE
    for override in panel["fieldConfig"]["overrides"]:
        assert {one["value"] for one in override["properties"] if one["id"] == "unit"} <= UNITS


@pytest.mark.parametrize("panel", PANELS)
def test_a_tables_numbers_have_units_of_their_own_and_a_mark_where_there_is_none(panel: dict[str, Any]) -> None:
    if panel["type"] != "table":
        return
    (renamed,) = [step["options"]["renameByName"] for step in panel["transformations"] if step["id"] == "organize"]
    numbers = {title for field, title in renamed.items() if field.startswith("Value")}
    for wanted in ("unit", "noValue"):
        having = {
            override["matcher"]["options"]
            for override in panel["fieldConfig"]["overrides"]
            if any(one["id"] == wanted for one in override["properties"])
        }
        assert numbers <= having
    assert panel["options"]["sortBy"][0]["displayName"] in renamed.values()


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=identifier)
def test_counters_are_rated_and_rates_are_over_the_interval_that_grafana_computes(expression: Expression) -> None:
    """A fixed range is shorter than the step of a long view and leaves out what lies between two points."""
    for selector, within in selectors(promql.parse(filled(expression))):
        functions = [node.func.name for node in within if isinstance(node, promql.Call)]
        name = str(selector.name)
        if expression.place.startswith("$"):
            continue
        if name in COUNTERS:
            assert COUNTING & set(functions), f"{selector} is a counter"
    for rated in re.findall(r"\bi?rate\([^\[]*\[([^\]]*)\]", expression.expr):
        assert rated == "$__rate_interval"


@pytest.mark.parametrize("panel", PANELS)
def test_a_band_is_filled_to_a_series_of_its_panel_whose_name_is_fixed(panel: dict[str, Any]) -> None:
    legends = [target.get("legendFormat", "") for target in panel["targets"]]
    for override in panel["fieldConfig"]["overrides"]:
        for one in override["properties"]:
            if one["id"] == "custom.fillBelowTo":
                assert legends.count(one["value"]) == 1
                assert not set("{$") & set(one["value"])


@pytest.mark.parametrize("panel", PANELS)
def test_a_panels_queries_have_letters_of_their_own(panel: dict[str, Any]) -> None:
    letters = [target["refId"] for target in panel["targets"]]
    assert len(set(letters)) == len(letters)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_number_that_stands_alone_is_of_now_also_where_the_range_ends_in_the_future(name: str) -> None:
    """An instant query is asked at the range's end, where nothing is measured yet."""
    board = DASHBOARDS[name]
    ahead = board["time"]["to"] != "now"
    for panel in panels(board):
        if panel["type"] in ("stat", "table", "gauge", "bargauge"):
            assert ("timeFrom" in panel) == ahead, panel["title"]
            assert panel.get("hideTimeOverride", False) == ahead, "there is no room for it beside a small panel's title"


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_lie_on_the_grid_beside_one_another_and_have_numbers_of_their_own(name: str) -> None:
    board = DASHBOARDS[name]
    whole = [*board["panels"], *(inner for panel in board["panels"] for inner in panel.get("panels", []))]
    assert len({panel["id"] for panel in whole}) == len(whole)
    for panel in whole:
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= COLUMNS
    for group in (board["panels"], *(panel.get("panels", []) for panel in board["panels"])):
        cells: set[tuple[int, int]] = set()
        for place in (panel["gridPos"] for panel in group):
            rows, columns = range(place["y"], place["y"] + place["h"]), range(place["x"], place["x"] + place["w"])
            mine = set(itertools.product(rows, columns))
            assert not cells & mine
            cells |= mine


def test_a_dashboard_has_a_uid_and_a_title_of_its_own_that_stay() -> None:
    """People link to these; adding one is fine, changing one isn't."""
    uids = {name: board["uid"] for name, board in DASHBOARDS.items()}
    assert uids == {name: f"cloudpulse-{name}" for name in DASHBOARDS}
    assert uids.keys() >= {"overview", "forecast", "accuracy"}
    assert len({board["title"] for board in DASHBOARDS.values()}) == len(DASHBOARDS)
    assert all(8 <= len(uid) <= 40 for uid in uids.values())


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_is_kept_in_code_and_leads_to_the_others(name: str) -> None:
    board = DASHBOARDS[name]
    assert board["editable"] is False
    assert board["description"].endswith(".")
    assert board["tags"] == ["cloudpulse"]
    assert board["graphTooltip"] == 1
    assert board["refresh"]
    assert [(link["type"], link["tags"], link["includeVars"]) for link in board["links"]] == [
        ("dashboards", ["cloudpulse"], True)
    ]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_link_leads_to_a_dashboard_that_exists_and_sets_variables_that_it_has(name: str) -> None:
    by_uid = {board["uid"]: board for board in DASHBOARDS.values()}
    for url in urls(DASHBOARDS[name]):
        found = re.fullmatch(r"/d/([\w-]+)(?:\?(.*))?", url)
        assert found, url
        theirs = {variable["name"] for variable in by_uid[found[1]]["templating"]["list"]}
        assert set(re.findall(r"var-(\w+)=", found[2] or "")) <= theirs


@pytest.mark.parametrize("panel", PANELS)
def test_a_links_texts_are_columns_of_its_table_and_encoded(panel: dict[str, Any]) -> None:
    """A label's text is data: an `&` in it must not become another variable."""
    titles = {
        title for step in panel.get("transformations", []) for title in step["options"].get("renameByName", {}).values()
    }
    for url in urls(panel):
        for field, form in re.findall(r"\${__data\.fields\.([^:}]+):?(\w*)}", url):
            assert field in titles
            assert form == "percentencode"


def urls(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if value.get("url"):
            yield value["url"]
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from urls(part)
