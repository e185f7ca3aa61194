"""`examples/keda/` does what it says: its fields are KEDA's, its queries Prometheus', its triggers ours."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from cloudpulse import config, names
from cloudpulse.promql import Series
from cloudpulse.testing import FakeClock, FakeSource
from scaler.config import ScalerSettings
from tests.scaler.keda.conftest import Keda, Port

FOLDER = Path(__file__).parents[3] / "examples" / "keda"
MANIFESTS = sorted(path for path in FOLDER.glob("*.yaml") if path.name not in ("cloudpulse.yaml", "kustomization.yaml"))

TEXTS = dict[str, str]
SCALED_OBJECT: dict[str, Any] = {
    "scaleTargetRef": {"name": str, "apiVersion": str, "kind": str, "envSourceContainerName": str},
    "pollingInterval": int,
    "cooldownPeriod": int,
    "initialCooldownPeriod": int,
    "idleReplicaCount": int,
    "minReplicaCount": int,
    "maxReplicaCount": int,
    "fallback": {"failureThreshold": int, "replicas": int, "behavior": str},
    "advanced": {
        "restoreToOriginalReplicaCount": bool,
        "horizontalPodAutoscalerConfig": {"name": str, "behavior": dict},
        "scalingModifiers": {"formula": str, "target": str, "activationTarget": str, "metricType": str},
    },
    "triggers": [
        {
            "type": str,
            "name": str,
            "metadata": TEXTS,
            "metricType": str,
            "useCachedMetrics": bool,
            "authenticationRef": {"name": str, "kind": str},
        }
    ],
}
"""Of kedacore/keda, apis/keda/v1alpha1/scaledobject_types.go, and of the ScaledObject specification of KEDA 2.20."""

AUTHENTICATION: dict[str, Any] = {"secretTargetRef": [{"parameter": str, "name": str, "key": str}]}
"""As far as it is used: config/crd/bases/keda.sh_clustertriggerauthentications.yaml."""

OF_EXTERNAL = {"scalerAddress", "enableTLS", "unsafeSsl", "metricName", "targetValue", "activationValue", "selector"}
OF_PROMETHEUS = {"serverAddress", "query", "threshold", "activationThreshold", "ignoreNullValues", "authModes"}
"""scalers/external.md and scalers/prometheus.md of KEDA's documentation; the former with our own."""


def _manifest(name: str) -> dict[str, Any]:
    manifest: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return manifest


def _triggers(*types: str) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """File, manifest and trigger of each trigger of one of `types`."""
    return [
        (path.name, manifest, trigger)
        for path in MANIFESTS
        for manifest in [_manifest(path.name)]
        for trigger in manifest["spec"].get("triggers", [])
        if trigger["type"] in types
    ]


def _misfits(value: Any, schema: Any, where: str) -> Iterator[str]:
    if schema is TEXTS:
        # The API server refuses a number or a boolean where KEDA's CRD says string.
        yield from (f"{where}.{key}" for key, text in value.items() if not isinstance(text, str))
    elif isinstance(schema, dict):
        for key, inner in value.items():
            yield from _misfits(inner, schema[key], f"{where}.{key}") if key in schema else [f"{where}.{key}"]
    elif isinstance(schema, list):
        for i, inner in enumerate(value):
            yield from _misfits(inner, schema[0], f"{where}[{i}]")
    elif type(value) is not schema:
        yield where


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_fields_and_their_types_are_those_of_keda(path: Path) -> None:
    manifest = _manifest(path.name)
    assert manifest["apiVersion"] == "keda.sh/v1alpha1"
    schema = {"ScaledObject": SCALED_OBJECT, "ClusterTriggerAuthentication": AUTHENTICATION}[manifest["kind"]]
    assert list(_misfits(manifest["spec"], schema, "spec")) == []


def test_the_check_of_fields_finds_what_is_wrong() -> None:
    wrong = {"fallback": {"replica": 1}, "triggers": [{"type": "external", "metadata": {"targetValue": 100}}]}
    assert list(_misfits(wrong, SCALED_OBJECT, "spec")) == [
        "spec.fallback.replica",
        "spec.triggers[0].metadata.targetValue",
    ]


@pytest.mark.parametrize("path", [path for path in MANIFESTS if path.name != "authentication.yaml"], ids=str)
def test_every_scaledobject_has_a_fallback_and_no_trigger_takes_nothing_for_zero(path: Path) -> None:
    spec = _manifest(path.name)["spec"]
    assert spec["fallback"]["replicas"] > 0
    for trigger in spec["triggers"]:
        if trigger["type"] == "prometheus":
            assert set(trigger["metadata"]) <= OF_PROMETHEUS
            assert trigger["metadata"]["ignoreNullValues"] == "false"
        else:
            assert set(trigger["metadata"]) <= OF_EXTERNAL


def test_the_formula_takes_the_forecast_first_and_keda_hands_it_what_fails() -> None:
    spec = _manifest("formula.yaml")["spec"]
    assert spec["advanced"]["scalingModifiers"]["formula"].split(" ?? ") == [t["name"] for t in spec["triggers"]]
    assert spec["fallback"]["behavior"] == "scalingModifiers"


def test_our_triggers_use_the_authentication_that_is_there_with_the_parameters_that_keda_knows() -> None:
    authentication = _manifest("authentication.yaml")
    reference = {"name": authentication["metadata"]["name"], "kind": authentication["kind"]}
    assert [t["authenticationRef"] for _, _, t in _triggers("external", "external-push")] == [reference] * 3
    parameters = {entry["parameter"] for entry in authentication["spec"]["secretTargetRef"]}
    assert parameters == {"caCert", "tlsClientCert", "tlsClientKey"}


def test_our_triggers_get_their_values_from_the_rules_beside_them(
    serve_keda: Callable[..., contextlib.AbstractContextManager[Port]],
    forecast: Callable[..., list[Series]],
) -> None:
    clock = FakeClock()
    apps = {("demo", "web"): 1234.5, ("demo", "reports"): 7.0, ("other", "web"): 1e6}
    source = FakeSource(
        lambda query: [
            series
            for (namespace, app), value in apps.items()
            for series in [
                *forecast(value, clock(), clock() - 20, namespace=namespace, app=app),
                Series({"namespace": namespace, "app": app}, np.array([clock()]), np.array([1.0])),
            ]
        ],
        clock,
    )
    rules = {"metrics": yaml.safe_load((FOLDER / "cloudpulse.yaml").read_text())["scaler"]["metrics"]}
    got = {}
    with (
        serve_keda(yaml.safe_dump(rules), source, clock) as port,
        port.client() as any_,
    ):
        for name, manifest, trigger in _triggers("external", "external-push"):
            keda = Keda(any_.channel, manifest["metadata"]["namespace"], trigger["metadata"])
            got[name] = (keda.metrics(), keda.spec(), keda.is_active())
    assert got == {
        "external.yaml": (1234.5, ("web_rps_ahead", 100), True),
        "external-push.yaml": (7, ("web_rps_ahead", 20), True),
        "formula.yaml": (1234.5, ("web_rps_ahead", 100), True),
    }


def test_the_scalers_side_is_a_valid_config_that_listens_where_the_triggers_ask() -> None:
    settings = config.read(FOLDER / "cloudpulse.yaml").section("scaler", ScalerSettings)
    assert settings.keda is not None
    assert settings.keda.tls is not None
    assert settings.keda.tls.client_ca_file is not None
    asked = {t["metadata"]["scalerAddress"].rpartition(":")[2] for _, _, t in _triggers("external", "external-push")}
    assert asked == {str(settings.keda.address[1])}


def test_the_series_of_the_queries_exist() -> None:
    known = {definition.name for definition in names.definitions()}
    for _, _, trigger in _triggers("prometheus"):
        used = set(re.findall(r"cloudpulse_[a-z0-9_]+", trigger["metadata"]["query"]))
        assert used <= known


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool on PATH")
def test_promql_answers_a_fresh_forecast_and_nothing_for_a_stale_one(tmp_path: Path) -> None:
    (query,) = [t["metadata"]["query"] for name, _, t in _triggers("prometheus") if name == "prometheus.yaml"]
    (reactive,) = [t["metadata"]["query"] for name, _, t in _triggers("prometheus") if name == "formula.yaml"]
    labels = 'forecast="web_rps",namespace="demo",app="web"'
    value = f'cloudpulse_forecast_value{{{labels},horizon="15m",level="0.9"}}'
    other = value.replace("demo", "other")
    made = f"cloudpulse_forecast_timestamp_seconds{{{labels}}}"

    def case(made_values: str, query: str, samples: list[dict[str, Any]]) -> dict[str, Any]:
        series = {value: "250x20", other: "9000x20", made: made_values}
        series['http_requests_total{namespace="demo",app="web"}'] = "0+600x20"
        return {
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "promql_expr_test": [{"expr": query, "eval_time": "10m", "exp_samples": samples}],
        }

    tests = [
        case("0+60x20", query, [{"labels": "{}", "value": 250}]),
        case("0x20", query, []),  # made 10 minutes ago
        case("0+60x20", reactive, [{"labels": "{}", "value": 10}]),
    ]
    (tmp_path / "test.yml").write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": tests}))
    done = subprocess.run(
        ["promtool", "test", "rules", str(tmp_path / "test.yml")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
