"""The weights that CloudPulse ships: networks trained on recorded series of others (pretraining/ makes them).

`weights/NAME.safetensors`, float16 to stay small, with what they were trained on in its metadata.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from cloudpulse.errors import CorruptFile
from forecaster import storage
from forecaster.model import State
from forecaster.models.network import Parameters

FOLDER = Path(__file__).with_suffix("")


@functools.cache
def read(name: str) -> Parameters:
    """The network called `name`, float32. Raises CorruptFile when it isn't what was shipped."""
    path = FOLDER / f"{name}{storage.SUFFIX}"
    if not path.exists():
        raise CorruptFile(f"{path}: missing: the package is not whole, install it again")
    return {key: array.astype(np.float32) for key, array in storage.read(path).arrays.items()}


def write(path: Path, parameters: Parameters, facts: dict[str, object]) -> None:
    """Ship `parameters` at `path`. Raises StoreError."""
    storage.write(path, State({key: array.astype(np.float16) for key, array in parameters.items()}, facts))
