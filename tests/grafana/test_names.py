"""Dashboards ask only for series and labels that exist."""

from __future__ import annotations

import re

import promql_parser as promql
import pytest

from grafana.expressions import Expression, panels
from tests.grafana import labels
from tests.grafana.saved import DASHBOARDS, EXPRESSIONS, filled, identifier

OURS = [expression for expression in EXPRESSIONS if not expression.place.startswith("$")]


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=identifier)
def test_an_expression_is_valid_and_its_series_exist(expression: Expression) -> None:
    found = [selector.name for selector, _ in labels.selectors(promql.parse(filled(expression)))]
    assert found
    for name in found:
        assert name in labels.OWN or name in labels.recorded() or name in labels.FOREIGN


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=identifier)
def test_the_labels_that_an_expression_uses_and_shows_are_labels_of_its_series(expression: Expression) -> None:
    answer = labels.of(promql.parse(filled(expression)))
    assert set(re.findall(r"{{\s*(\w+)\s*}}", expression.legend)) <= answer


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_variable_offers_the_values_of_a_label_that_its_series_have(name: str) -> None:
    for variable in DASHBOARDS[name]["templating"]["list"]:
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
            assert found, variable["query"]["query"]
            query = Expression(name, variable["name"], found[1])
            assert found[2] in labels.of(promql.parse(filled(query)))


@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_columns_of_a_table_are_labels_or_values_of_its_answers(name: str) -> None:
    for panel in panels(DASHBOARDS[name]):
        if panel["type"] != "table":
            continue
        queries = [Expression(name, panel["title"], target["expr"]) for target in panel["targets"]]
        answers = [labels.of(promql.parse(filled(query))) for query in queries]
        assert len(set(answers)) == 1, f"{panel['title']}: rows meet where labels are the same"
        (columns,) = [
            step["options"]["include"]["names"] for step in panel["transformations"] if "include" in step["options"]
        ]
        values = {"Value"} if len(answers) == 1 else {f"Value #{target['refId']}" for target in panel["targets"]}
        assert set(columns) - values <= answers[0]
        assert values <= set(columns)


def test_a_label_that_a_series_does_not_have_is_found_wherever_it_stands() -> None:
    for wrong in (
        'cloudpulse_forecast_series{horizon="1h"}',
        "sum by (level) (cloudpulse_forecast_mase)",
        "cloudpulse_forecast_mase * on (model) cloudpulse_forecast_series",
        "cloudpulse:forecast_age:seconds{level='0.5'}",
    ):
        with pytest.raises(AssertionError, match="no series in"):
            labels.of(promql.parse(wrong))
    with pytest.raises(LookupError):
        labels.of(promql.parse("cloudpulse_forecast_nothing"))
