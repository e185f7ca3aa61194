"""What a training process does first. It imports nothing heavy: numpy reads these variables when it is loaded."""

from __future__ import annotations

import multiprocessing
import os
import threading

from cloudpulse import logs

NICENESS = 10
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def begin(log_level: str, log_format: str) -> None:
    """Serving comes first on a busy machine; libraries keep to one thread (2 can be 20x slower under load).

    The worker ends with the forecaster, however that ends: a killed one closes no queue.
    """
    logs.configure(log_level, log_format)
    logs.capture()
    for variable in _THREADS:
        os.environ[variable] = "1"
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    threading.Thread(target=_end_with_the_parent, name="parent", daemon=True).start()


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
