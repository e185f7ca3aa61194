"""From a host's metrics to a forecast, an alert and a scaling value, and through what goes wrong on the way.

The tests share one running stack and stand in the order in which they disturb it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
import yaml

from scaler.keda.externalscaler_pb2 import GetMetricsRequest, GetMetricsResponse, ScaledObjectRef
from tests.e2e.conftest import TOKEN, Running, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

EXTERNAL = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/demand_ahead"
SERVICES = ("exporter", "forecaster", "alert-bridge", "scaler")


def test_prometheus_scrapes_every_service(running: Running) -> None:
    jobs = {*SERVICES, "prometheus", "alertmanager", "demo"}
    up = until(
        lambda: (found := {x["metric"]["job"] for x in running.query("up == 1")}) >= jobs and found,
        30,
        "all targets up",
    )
    assert up == jobs
    assert running.query("cloudpulse_node_load1")
    assert len(running.query("cloudpulse_build_info")) == len(SERVICES)


def test_forecasts_are_in_prometheus_for_every_series_horizon_and_level(running: Running) -> None:
    wanted = {(horizon, level) for horizon in ("15m", "1h", "24h") for level in ("0.1", "0.5", "0.9")}

    def complete() -> list[dict[str, Any]] | None:
        found = running.query('cloudpulse_forecast_value{forecast="demand",horizon!="0s"}')
        return found if {(x["metric"]["horizon"], x["metric"]["level"]) for x in found} == wanted else None

    found = until(complete, 30, "forecasts of every horizon and level in Prometheus")
    assert {x["metric"]["app"] for x in found} == {"app02", "app08", "app09", "app13", "nasa"}
    assert len(found) == len(wanted) * 5
    assert all(float(x["value"][1]) >= 0 for x in found)


def test_training_takes_over_while_metrics_answer(running: Running) -> None:
    version = 'cloudpulse_forecaster_model_version{forecast="demand"}'
    until(lambda: running.metrics("forecaster").get(version), 60, "a first training")
    weights = {
        k: v for k, v in running.metrics("forecaster").items() if k.startswith("cloudpulse_forecast_model_weight")
    }
    by_app: dict[str, float] = {}
    for series, weight in weights.items():
        app = series.partition('app="')[2].partition('"')[0]
        if app:
            by_app[app] = by_app.get(app, 0) + weight
    assert by_app
    assert all(abs(total - 1) < 1e-6 for total in by_app.values())


def test_a_predictive_alert_reaches_the_pager_exactly_once(running: Running) -> None:
    until(
        lambda: running.query('ALERTS{alertname="DemandOverCapacityAhead",alertstate="firing"}'), 60, "a firing alert"
    )
    until(lambda: running.pager.firing("DemandOverCapacityAhead"), 30, "a page")
    time.sleep(5)  # a second copy would be on its way by now
    fingerprints = [alert["fingerprint"] for alert in running.pager.firing("DemandOverCapacityAhead")]
    assert len(fingerprints) == len(set(fingerprints)), "each alert is told once"


def test_the_scaler_answers_what_promql_says(running: Running) -> None:
    """The forecast, or what is measured now where that is more."""

    def both() -> tuple[dict[str, float], dict[str, float]] | None:
        forecast = 'cloudpulse_forecast_value{forecast="demand",horizon="1h",level="0.9"}'
        expression = (
            f'max by (app) (label_replace({forecast}, "of", "f", "", "") or cloudpulse_demo_requests_per_minute)'
        )
        asked = {x["metric"]["app"]: float(x["value"][1]) for x in running.query(expression)}
        answer = running.scaler(EXTERNAL)
        if answer.status_code != 200:
            return None
        served = {x["metricLabels"]["app"]: _number(x["value"]) for x in answer.json()["items"]}
        # Both move with every round: compare them when no round fell in between.
        again = {x["metric"]["app"]: float(x["value"][1]) for x in running.query(expression)}
        close = asked == again and asked.keys() == served.keys()
        return (asked, served) if close and all(abs(asked[a] - served[a]) < 0.002 for a in asked) else None

    asked, served = until(both, 30, "the scaler's value and PromQL's are the same")
    assert len(asked) == len(served) == 5


def test_keda_gets_what_promql_says(running: Running) -> None:
    """The forecast, or what is measured now where that is more: at some hours of the day it is."""
    forecast = 'cloudpulse_forecast_value{forecast="demand",horizon="1h",level="0.9",app="app09"}'
    now = 'cloudpulse_demo_requests_per_minute{app="app09"}'
    expression = f'max by (app) (label_replace({forecast}, "of", "f", "", "") or {now})'
    metadata = {"metricName": "demand_ahead", "targetValue": "100", "selector": "app=app09"}
    ref = ScaledObjectRef(name="web", namespace="default", scalerMetadata=metadata)
    request = GetMetricsRequest(scaledObjectRef=ref, metricName="demand_ahead")

    def both() -> tuple[float, float] | None:
        before = running.query(expression)
        (value,) = ask(request, timeout=5).metricValues
        if not before or before[0]["value"][1] != running.query(expression)[0]["value"][1]:
            return None
        pair = float(before[0]["value"][1]), value.metricValueFloat
        return pair if abs(pair[0] - pair[1]) < 0.002 else None

    with grpc.insecure_channel(running.keda) as channel:
        ask = channel.unary_unary(
            "/externalscaler.ExternalScaler/GetMetrics",
            request_serializer=GetMetricsRequest.SerializeToString,
            response_deserializer=GetMetricsResponse.FromString,
        )
        asked, served = until(both, 30, "KEDA's value and PromQL's are the same")
    assert served >= asked > 0


def _number(quantity: str) -> float:
    return float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)


def test_kubectl_reads_the_scaler(running: Running, tmp_path: Path) -> None:
    cluster = {"server": running.url("scaler"), "insecure-skip-tls-verify": True}
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": cluster}],
                "users": [{"name": "u", "user": {"token": TOKEN}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    kubectl = Path(sys.executable).with_name("kubectl")
    done = subprocess.run(
        [kubectl, "--kubeconfig", kubeconfig, "get", "--raw", EXTERNAL], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["kind"] == "ExternalMetricValueList"
    assert len(answer["items"]) == 5


def test_a_killed_forecaster_keeps_its_models_and_forecasts_again_within_20_seconds(running: Running) -> None:
    version = 'cloudpulse_forecaster_model_version{forecast="demand"}'
    before = running.metrics("forecaster")[version]
    part = running.parts["forecaster"]
    running.stack.process("forecaster").send_signal(signal.SIGKILL)
    running.stack.process("forecaster").wait()
    began = time.monotonic()
    running.stack.start(part)

    def forecasting() -> bool:
        try:
            return version in running.metrics("forecaster")
        except requests.RequestException:
            return False

    until(forecasting, 20, "forecasts after a kill")
    assert time.monotonic() - began < 20
    assert running.metrics("forecaster")[version] == before


@pytest.mark.timeout(300)
def test_prometheus_away_makes_no_zero_and_heals(running: Running) -> None:
    os.kill(running.stack.process("prometheus").pid, signal.SIGTERM)
    running.stack.process("prometheus").wait(20)
    # At some times of day an app rests: only what is well above zero mustn't become one.
    busy = {series for series, value in _demand(running).items() if value > 1}
    served = 'forecast="demand",horizon="1h",level="0.9"'
    apps = {series.partition('app="')[2].partition('"')[0] for series in busy if served in series}
    assert apps
    refusals = 0
    deadline = time.monotonic() + 60
    while refusals < 5 and time.monotonic() < deadline:
        assert [series for series, value in _demand(running).items() if series in busy and value <= 0] == []
        answer = running.scaler(EXTERNAL)
        if answer.status_code == 200:
            assert not refusals, "once refused, nothing old is served again"
            items = answer.json()["items"]
            assert all(_number(x["value"]) > 0 for x in items if x["metricLabels"]["app"] in apps)
        else:
            refusals += 1
            assert answer.json()["kind"] == "Status"
        time.sleep(1)
    assert refusals == 5, "a value older than max_age (20s) is refused"
    for name in SERVICES:
        assert running.stack.process(name).poll() is None, f"{name} crashed"
    errors = 'cloudpulse_forecaster_errors_total{forecast="demand",reason="source_unavailable"}'
    until(lambda: running.metrics("forecaster").get(errors, 0) >= 1, 90, "a round finds no Prometheus")
    running.stack.start(running.parts["prometheus"])
    running.stack.wait_ready(running.parts["prometheus"], 60)
    until(lambda: running.scaler(EXTERNAL).status_code == 200, 60, "the scaler serves again")


def _demand(running: Running) -> dict[str, float]:
    """What is forecast of the demo's apps, as the forecaster shows it now."""
    wanted = 'cloudpulse_forecast_value{forecast="demand"'
    return {series: value for series, value in running.metrics("forecaster").items() if series.startswith(wanted)}
