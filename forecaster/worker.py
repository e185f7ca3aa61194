"""What a training process does first. It imports nothing heavy: numpy reads these variables when it is loaded."""

from __future__ import annotations

import os

NICENESS = 10
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def be_modest() -> None:
    """Serving comes first on a busy machine; libraries keep to one thread (2 can be 20x slower under load)."""
    for variable in _THREADS:
        os.environ[variable] = "1"
    if hasattr(os, "nice"):
        os.nice(NICENESS)
