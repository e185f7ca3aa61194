"""The generated module is what the .proto says, and the .proto is what KEDA speaks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from google.protobuf import descriptor_pb2

from scaler.keda import externalscaler_pb2 as generated

ROOT = Path(generated.__file__).parents[2]
PROTO = "scaler/keda/externalscaler.proto"


def _described() -> descriptor_pb2.FileDescriptorProto:
    described = descriptor_pb2.FileDescriptorProto()
    generated.DESCRIPTOR.CopyToProto(described)
    return described


def test_the_committed_module_is_what_the_proto_generates(tmp_path: Path) -> None:
    """`make proto` makes it anew."""
    out = tmp_path / "set"
    argv = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--descriptor_set_out={out}", PROTO]
    subprocess.run(argv, cwd=ROOT, check=True, timeout=60)
    (anew,) = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    described = _described()
    # protoc writes the names of JSON fields, too; the module leaves them to the runtime.
    for message in (*anew.message_type, *described.message_type):
        for field in [*message.field, *(field for nested in message.nested_type for field in nested.field)]:
            field.ClearField("json_name")
    assert described == anew


def test_names_numbers_and_types_are_those_of_keda() -> None:
    """As in kedacore/keda, pkg/scalers/externalscaler/externalscaler.proto."""
    described = _described()
    kinds = descriptor_pb2.FieldDescriptorProto.Type.Name
    fields = {
        f"{message.name}.{field.name}": (field.number, kinds(field.type).removeprefix("TYPE_").lower())
        for message in described.message_type
        for field in message.field
    }
    assert described.package == "externalscaler"
    assert fields == {
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


def test_the_package_asks_for_a_protobuf_that_can_load_the_module() -> None:
    source = Path(generated.__file__).read_text(encoding="utf-8")
    version = source.partition("Protobuf Python Version: ")[2].partition("\n")[0]
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'"protobuf>={version}"' in pyproject
