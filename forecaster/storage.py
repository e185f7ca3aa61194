"""A State as one file: safetensors with facts as JSON, checksummed, replaced atomically. No pickle."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from cloudpulse.errors import CorruptFile, StoreError
from cloudpulse.folders import sync
from forecaster.model import State

FORMAT = "1"
SUFFIX = ".safetensors"


def write(path: Path, state: State) -> None:
    """Put `state` at `path`, all or nothing, and on disk before this returns. Raises StoreError."""
    arrays = {name: np.ascontiguousarray(array) for name, array in state.arrays.items()}
    facts = json.dumps(state.facts, allow_nan=False)
    put(path, save(arrays, {"format": FORMAT, "facts": facts, "sha256": _digest(arrays, facts)}))


def put(path: Path, content: bytes) -> None:
    """Put `content` at `path`, all or nothing, and on disk before this returns. Raises StoreError.

    Not for two at once at the same path. What a killed process left half-written is overwritten by the next.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StoreError(f"{path}: can't be written: {error.strerror}; what was there before is kept") from error


def sweep(folder: Path) -> None:
    """Delete what a killed process left half-written in a folder whose files may all have other names by now."""
    for path in folder.glob(".*"):
        with contextlib.suppress(OSError):
            path.unlink()


def read(path: Path) -> State:
    """The state at `path`. Raises CorruptFile when it isn't what was written, StoreError when it can't be read."""
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
    except SafetensorError as error:
        raise CorruptFile(f"{path}: not a whole safetensors file ({error}); delete it to start anew") from error
    except OSError as error:
        raise StoreError(f"{path}: can't be read: {error.strerror or error}") from error
    if metadata.get("format") != FORMAT:
        raise CorruptFile(f"{path}: format {metadata.get('format')}, this version reads {FORMAT}")
    if metadata.get("sha256") != _digest(arrays, metadata.get("facts", "")):
        raise CorruptFile(f"{path}: its checksum is wrong; delete it to start anew")
    return State(arrays, json.loads(metadata["facts"]))


def _digest(arrays: Mapping[str, NDArray[Any]], facts: str) -> str:
    digest = hashlib.sha256(facts.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
