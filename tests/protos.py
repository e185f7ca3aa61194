"""Generated protobuf modules held to their .proto: one check for each of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

from google.protobuf import descriptor_pb2

ROOT = Path(__file__).parent.parent


def described(generated: ModuleType) -> descriptor_pb2.FileDescriptorProto:
    """What a generated module says."""
    found = descriptor_pb2.FileDescriptorProto()
    generated.DESCRIPTOR.CopyToProto(found)
    return found


def is_as_its_proto_says(generated: ModuleType, tmp_path: Path) -> bool:
    """Whether `make proto` would make the same, by a release of protobuf that pyproject.toml asks for."""
    out = tmp_path / "set"
    argv = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--descriptor_set_out={out}", generated.DESCRIPTOR.name]
    subprocess.run(argv, cwd=ROOT, check=True, timeout=60)
    (anew,) = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    ours = described(generated)
    # protoc writes the names of JSON fields, too; the module leaves them to the runtime.
    for message in (*anew.message_type, *ours.message_type):
        for field in [*message.field, *(field for nested in message.nested_type for field in nested.field)]:
            field.ClearField("json_name")
    return ours == anew and _loads_with_what_is_asked_for(generated)


def fields(file: descriptor_pb2.FileDescriptorProto) -> dict[str, tuple[int, str]]:
    """`Message.field` -> its number and type."""
    kinds = descriptor_pb2.FieldDescriptorProto.Type.Name
    return {
        f"{message.name}.{field.name}": (field.number, kinds(field.type).removeprefix("TYPE_").lower())
        for message in file.message_type
        for field in message.field
    }


def _loads_with_what_is_asked_for(generated: ModuleType) -> bool:
    source = Path(str(generated.__file__)).read_text(encoding="utf-8")
    version = source.partition("Protobuf Python Version: ")[2].partition("\n")[0]
    return f'"protobuf>={version}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
