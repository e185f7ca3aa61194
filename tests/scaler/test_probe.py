"""`check --online` about the scaler's rules, and the HPA manifests that it gives to paste."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

from cloudpulse.check import command
from cloudpulse.errors import ConfigError, QueryRejected
from cloudpulse.promql import Series
from cloudpulse.testing import FakeSource, query_api, serving
from scaler.config import Rule, ScalerSettings
from scaler.evaluation import Item
from scaler.hpa_manifest import manifest
from scaler.question import PART


class World:
    """What Prometheus has, at the time of each question: two measured series, and the forecast of one."""

    def __init__(self) -> None:
        self.mase, self.made, self.measured, self.pods = 0.7, 20.0, True, [300.0]
        self.levels: tuple[str, ...] = ("0.5", "0.9")

    def __call__(self, query: str) -> list[Series]:
        now = time.time()

        def one(value: float, **labels: str) -> Series:
            return Series(labels, np.array([now - 1]), np.array([value]))

        if "bad(" in query:
            raise QueryRejected("parse error: unclosed left parenthesis")
        if query.startswith("group by"):
            return [one(1, horizon=h, level=level) for h in ("5m", "15m", "1h") for level in self.levels]
        if query.startswith("quantile"):
            return [one(value) for value in self.pods]
        if query == "vector(1)":
            return [one(1)]
        series = []
        if self.measured:
            series += [one(100, app="a", namespace="shop"), one(50, app="b", namespace="shop")]
        if "forecast_value" in query:
            own = {"forecast": "web", "app": "a", "namespace": "shop", "job": "forecaster"}
            series += [
                one(120, **{PART: "forecast"}, horizon="15m", level="0.9", **own),
                one(now - self.made, **{PART: "made"}, **own),
                one(self.mase, **{PART: "mase"}, horizon="15m", **own),
                one(0.92, **{PART: "coverage"}, horizon="15m", level="0.9", **own),
            ]
        return series


Check = Callable[..., Result]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def check(world: World, tmp_path: Path) -> Iterator[Check]:
    with serving(query_api(FakeSource(world, time.time))) as url:

        def run(rule: str, *flags: str) -> Result:
            path = tmp_path / "cloudpulse.yaml"
            path.write_text(f"prometheus: {{url: {url}}}\nscaler: {{auth: {{anonymous: true}}, metrics: [{rule}]}}\n")
            return CliRunner().invoke(command, [*flags, "--config", str(path)])

        yield lambda rule: run(rule, "--online")


FULL = "{name: ahead, api: external, forecast: web, reactive: 'sum by (app, namespace) (rps)'%s}"


def line(done: Result, subject: str) -> str:
    lines = [" ".join(text.split()) for text in done.stdout.splitlines()]
    found = [text for text in lines if text.split()[1:2] == [subject]]
    return found[-1]  # Prometheus itself is the first place, and has an answer, too


def pasted(done: Result) -> dict[str, Any]:
    """The manifest as a user copies it out of the output."""
    text = done.stdout[done.stdout.index("apiVersion: autoscaling/v2") :]
    return yaml.safe_load(text)  # type: ignore[no-any-return]


def test_a_rule_that_is_fine_is_explained(check: Check) -> None:
    done = check(FULL % ", cost: {short: 5, idle: 1}, resource: {namespace: namespace}")
    assert done.exit_code == 0, (done.output, done.exception)
    assert line(done, "horizon").startswith("ok horizon 15m, the nearest beyond the 8m that a new pod takes")
    assert line(done, "horizon").endswith("(nine in ten of all pods in the cluster)")
    assert line(done, "level") == (
        "ok level 0.9, where a unit too little costs 5 and one too much 1 (0.833 costs least)"
    )
    assert line(done, "query").startswith("ok query 2 series, 1 namespace, in ")
    assert "label_replace(cloudpulse_forecast_value{" in done.stdout
    assert "\nor (sum by (app, namespace) (rps)\n)" in done.stdout
    assert line(done, "gate") == "ok gate MASE 0.70 (shut above 1.2), coverage 0.92 (shut below 0.7)"
    assert line(done, "fallback") == "warn fallback 1 series served as measured now, the forecast being missing"
    answer = 'ok answer 120 {app="a", namespace="shop"}, 50 {app="b", namespace="shop"}; 1 by forecast, 1 by reactive'
    assert line(done, "answer").startswith(answer)
    kubernetes_validate.validate(pasted(done), "1.34", strict=True)


def test_what_is_wrong_is_said(check: Check, world: World) -> None:
    done = check(FULL % ", horizon: 20m")
    assert line(done, "horizon").startswith("fail horizon forecast web has no horizon 20m, only 5m, 15m, 1h")
    assert done.exit_code == 1
    assert line(check(FULL.replace("sum", "bad(") % ""), "query").startswith("fail query Prometheus refused the query")
    world.mase, world.pods = 3.0, []
    done = check(FULL % ", ready: {query: quantile(up)}, horizon: auto, gate: {mase: 2}")
    assert "of all pods in the cluster" not in line(done, "horizon")
    assert line(done, "assumed").startswith("warn assumed its ready.query tells no time")
    done = check(FULL % ", horizon: 15m, mode: shadow")
    assert line(done, "gate").endswith("shut for 1 of 1 series")
    assert line(done, "shadow").startswith('note shadow served as measured now; would be 100 {app="a"')
    world.measured = False
    done = check(FULL % ", horizon: 15m, gate: {mase: .inf}")
    assert line(done, "answer").startswith('fail answer external metric "ahead": nothing is measured now')
    assert done.exit_code == 1


def test_what_the_horizon_and_the_level_are_is_told_truly(check: Check, world: World) -> None:
    done = check(FULL % "")
    assert line(done, "level") == "ok level 0.9, the nearest from 0.7 up"
    world.levels = ("0.5", "0.7")
    assert line(check(FULL % ""), "level") == "ok level 0.7, the default"
    world.levels = ("0.5",)
    done = check(FULL % ", cost: {short: 5, idle: 1}")
    assert line(done, "level").startswith("ok level 0.5, the highest there is, where a unit too little costs 5")
    assert line(check(FULL % ", level: 0.5"), "level") == "ok level 0.5, as configured"
    world.pods = [90000.0]
    done = check(FULL % "")
    assert line(done, "horizon").startswith("ok horizon 1h, the farthest there is, short of the 1d1h3m that a new pod")
    assert line(done, "level") == "ok level 0.5, the highest there is"


def test_offline_what_is_measured_must_be_known(tmp_path: Path) -> None:
    path = tmp_path / "cloudpulse.yaml"
    path.write_text("scaler: {auth: {anonymous: true}, metrics: [{name: a, api: external, forecast: web}]}\n")
    done = CliRunner().invoke(command, ["--config", str(path)])
    assert isinstance(done.exception, ConfigError)
    assert "add reactive:" in str(done.exception)


LABELS = {"namespace": "shop", "app": "web", "pod": "web-1", "verb": "GET", "instance": "10.0.0.1:80", "size": "007"}
BESIDE = {**LABELS, "verb": "PUT", "instance": "10.0.0.2:80", "size": "8"}


def made(settings_of: Callable[..., ScalerSettings], rule: str, *labels: dict[str, str]) -> Any:
    parsed: Rule = settings_of(f"metrics: [{{name: rps, query: q, {rule}}}]").metrics[0]
    tree = yaml.safe_load(manifest(parsed, [Item(one, 1.0, math.nan, "1") for one in labels]))
    kubernetes_validate.validate(tree, "1.34", strict=True)
    return tree


def test_an_external_metric_is_picked_by_the_labels_that_tell_its_series_apart(
    settings_of: Callable[..., ScalerSettings],
) -> None:
    tree = made(settings_of, "api: external, resource: {namespace: namespace}", LABELS, BESIDE)
    (metric,) = tree["spec"]["metrics"]
    # instance would tell them apart, too, but no selector can ask for a value with a colon
    assert metric["external"]["metric"] == {
        "name": "rps",
        "selector": {"matchLabels": {"verb": "GET", "size": "007"}},
    }
    assert (metric["type"], tree["metadata"]["namespace"]) == ("External", "shop")
    assert tree["spec"]["scaleTargetRef"]["name"] == "FILL-IN"
    alone = made(settings_of, "api: external", LABELS)
    assert "selector" not in alone["spec"]["metrics"][0]["external"]["metric"]
    assert made(settings_of, "api: external")["metadata"]["namespace"] == "default"


def test_a_metric_of_a_workload_scales_that_workload(settings_of: Callable[..., ScalerSettings]) -> None:
    rule = "api: custom, resource: {namespace: namespace, pod: pod, deployment: app}"
    tree = made(settings_of, rule, LABELS)
    assert tree["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    (metric,) = tree["spec"]["metrics"]
    assert metric["object"]["describedObject"] == tree["spec"]["scaleTargetRef"]


def test_pods_are_averaged_and_other_objects_are_described(settings_of: Callable[..., ScalerSettings]) -> None:
    (metric,) = made(settings_of, "api: custom, resource: {namespace: namespace, pod: pod}", LABELS)["spec"]["metrics"]
    assert metric["pods"] == {"metric": {"name": "rps"}, "target": {"type": "AverageValue", "averageValue": "100"}}
    tree = made(
        settings_of, "api: custom, resource: {namespace: namespace, widgets.example.com/v1/Widget: app}", LABELS
    )
    described = {"apiVersion": "example.com/v1", "kind": "Widget", "name": "web"}
    assert tree["spec"]["metrics"][0]["object"]["describedObject"] == described
    tree = made(settings_of, "api: custom, resource: {namespace: namespace}", LABELS)
    described = {"apiVersion": "v1", "kind": "Namespace", "name": "shop"}
    assert tree["spec"]["metrics"][0]["object"]["describedObject"] == described
