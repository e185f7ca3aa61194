"""Queries made of an alert's labels, as a real Prometheus takes them."""

from __future__ import annotations

import pytest

from alert_bridge.insights import question
from cloudpulse.promql import Prometheus
from tests.alert_bridge.insights.surge import API, NOW, WEB, WEIRD


def apps(source: Prometheus, query: str) -> set[str]:
    return {one.labels["app"] for one in source.instant(query, NOW)}


@pytest.mark.parametrize("labels", [WEB, WEIRD])
def test_a_series_is_found_by_its_labels_whatever_they_hold(source: Prometheus, labels: dict[str, str]) -> None:
    assert apps(source, question.selector("shop_requests", labels)) == {labels["app"]}
    assert apps(source, question.fitting("shop_requests", {**labels, "severity": "page"})) == {labels["app"]}
    assert apps(source, question.only("shop_requests", ["app", "zone"], [labels])) == {labels["app"]}


@pytest.mark.parametrize("value", [".*", "w.b", "web|api", "(", "\\Qweb\\E", "$1", "${0}", '"} or vector(1) #', "x\ny"])
def test_a_value_is_no_pattern_and_no_promql(source: Prometheus, value: str) -> None:
    labels = {"app": value}
    for query in (
        question.selector("shop_requests", labels),
        question.fitting("shop_requests", labels),
        question.only("shop_requests", ["app"], [labels]),
    ):
        assert source.instant(query, NOW) == []


def test_of_several_series_each_is_found(source: Prometheus) -> None:
    assert apps(source, question.only("shop_requests", ["app", "instance"], [WEB, API])) == {"web", "api"}


def test_a_series_without_labels_is_found(source: Prometheus) -> None:
    assert [one.value for one in source.instant(question.only("sum(shop_requests)", [], [{}]), NOW)] == [755]


def test_a_label_whose_name_is_not_promql_is_left_out() -> None:
    assert question.selector("a", {'x"} or b{': "1", "ok": "2"}) == 'a{ok="2"}'
    assert question.fitting("a", {"größe": "1"}) == "a{}"
