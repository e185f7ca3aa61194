"""The generated module is what the .proto says, and the .proto is what KEDA speaks."""

from __future__ import annotations

from pathlib import Path

from scaler.keda import externalscaler_pb2 as generated
from tests import protos


def test_the_committed_module_is_what_the_proto_generates(tmp_path: Path) -> None:
    assert protos.is_as_its_proto_says(generated, tmp_path)


def test_names_numbers_and_types_are_those_of_keda() -> None:
    """As in kedacore/keda, pkg/scalers/externalscaler/externalscaler.proto."""
    described = protos.described(generated)
    assert described.package == "externalscaler"
    assert protos.fields(described) == {
        "ScaledObjectRef.name": (1, "string"),
        "ScaledObjectRef.namespace": (2, "string"),
        "ScaledObjectRef.scalerMetadata": (3, "message"),
        "IsActiveResponse.result": (1, "bool"),
        "GetMetricSpecResponse.metricSpecs": (1, "message"),
        "MetricSpec.metricName": (1, "string"),
        "MetricSpec.targetSize": (2, "int64"),
        "MetricSpec.targetSizeFloat": (3, "double"),
        "GetMetricsRequest.scaledObjectRef": (1, "message"),
        "GetMetricsRequest.metricName": (2, "string"),
        "GetMetricsResponse.metricValues": (1, "message"),
        "MetricValue.metricName": (1, "string"),
        "MetricValue.metricValue": (2, "int64"),
        "MetricValue.metricValueFloat": (3, "double"),
    }
    (service,) = described.service
    assert service.name == "ExternalScaler"
    assert {method.name: method.server_streaming for method in service.method} == {
        "IsActive": False,
        "StreamIsActive": True,
        "GetMetricSpec": False,
        "GetMetrics": False,
    }
