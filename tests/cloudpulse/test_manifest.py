"""A HorizontalPodAutoscaler's words, read as the API server reads them."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from cloudpulse import manifest
from cloudpulse.errors import ConfigError
from cloudpulse.hpa import DEFAULT_DOWN, Behavior, Policy, ScalingRules
from cloudpulse.manifest import Manifest, Target, parse_quantity

HPA = """
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 2
  maxReplicas: 40
  metrics:
    - type: External
      external: {metric: {name: http_requests_ahead}, target: {type: AverageValue, averageValue: 1500m}}
"""
BEHAVIOR = """
  behavior:
    scaleUp:
      stabilizationWindowSeconds: 30
      selectPolicy: Min
      tolerance: 50m
      policies: [{type: Pods, value: 4, periodSeconds: 60}, {type: Percent, value: 50, periodSeconds: 30}]
"""


def read(folder: Path, text: str) -> Manifest:
    path = folder / "hpa.yaml"
    path.write_text(text)
    return manifest.read(path)


def test_a_manifest_gives_bounds_target_and_no_behavior_where_it_names_none(tmp_path: Path) -> None:
    assert read(tmp_path, HPA) == Manifest(2, 40, None, Target(average=Decimal("1.500")))


def test_a_behavior_keeps_the_defaults_where_it_is_silent(tmp_path: Path) -> None:
    policies = (Policy("Pods", 4, 60), Policy("Percent", 50, 30))
    expected = Behavior(ScalingRules(30, policies, "Min", 0.05), DEFAULT_DOWN)
    assert read(tmp_path, HPA + BEHAVIOR).behavior == expected
    assert read(tmp_path, HPA + "\n  behavior: {}").behavior == Behavior()


def test_one_replica_is_the_least_unless_said_otherwise(tmp_path: Path) -> None:
    assert read(tmp_path, HPA.replace("  minReplicas: 2\n", "")).minimum == 1
    assert read(tmp_path, HPA.replace("minReplicas: 2", "minReplicas: 0")).minimum == 0


def test_a_utilization_is_a_share(tmp_path: Path) -> None:
    resource = "type: Resource\n      resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}"
    text = HPA[: HPA.index("type: External")] + resource
    assert read(tmp_path, text).target == Target(utilization=0.7)


def test_the_autoscaler_is_found_among_other_objects_and_in_a_list(tmp_path: Path) -> None:
    assert read(tmp_path, "kind: Service\n---\n" + HPA).maximum == 40
    indented = HPA.replace("\n", "\n    ")
    assert read(tmp_path, f"kind: List\nitems:\n  - {indented.strip()}\n").maximum == 40


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("maxReplicas: 40", "maxReplicas: 0", "spec: maxReplicas: expected 1 or more, got 0"),
        ("maxReplicas: 40", "maxReplicas: 1", "minReplicas: expected 0 to maxReplicas 1, got 2"),
        ("  maxReplicas: 40\n", "", "spec: missing key `maxReplicas`"),
        ("maxReplicas: 40", "maxReplicas: many", r"spec\.maxReplicas: expected a whole number, got a text"),
        ("autoscaling/v2", "autoscaling/v1", "apiVersion: expected autoscaling/v2, got autoscaling/v1"),
        ("kind: Horizontal", "kind: Vertical", "expected one HorizontalPodAutoscaler, got none"),
        ("periodSeconds: 60", "periodSeconds: 1801", r"policies\[0\]: periodSeconds: expected 1 to 1800, got 1801"),
        ("value: 4", "value: 0", "value: expected 1 or more, got 0"),
        ("Seconds: 30\n", "Seconds: 3601\n", "stabilizationWindowSeconds: expected 0 to 3600, got 3601"),
        ("selectPolicy: Min", "selectPolicy: Least", "expected one of Disabled, Max, Min, got 'Least'"),
        ("tolerance: 50m", "tolerance: -1", "tolerance: expected 0 or more, got -1"),
        ("scaleUp", "scaleup", "unknown key `scaleup`"),
        (
            "averageValue: 1500m",
            "averageValue: 1K",
            'spec.metrics: expected a quantity such as 100 or 500m, got "1K"',
        ),
        ("averageValue: 1500m", "averageValue: 0", "averageValue: expected more than 0, got 0"),
        ("type: AverageValue, averageValue", "type: Value, value", "expected AverageValue or Utilization, got Value"),
        ("type: External", "type: Other", "target: missing"),
        ("spec:", "spec: {", "not valid YAML"),
    ],
)
def test_what_the_api_server_or_a_simulation_cannot_take_is_named(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    text = HPA + BEHAVIOR
    assert before in text
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, text.replace(before, after, 1))


def test_several_metrics_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected exactly one, got none"):
        read(tmp_path, HPA[: HPA.index("  metrics")])


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent.yaml: can't read the manifest: No such file"):
        manifest.read(tmp_path / "absent.yaml")


@pytest.mark.parametrize(("text", "value"), [("0.05", "0.05"), ("2k", "2000"), ("1e3", "1000"), ("1Mi", "1048576")])
def test_quantities(text: str, value: str) -> None:
    assert parse_quantity(text) == Decimal(value)
