"""One service under control: look at it and at its metric, decide as the HPA does, change it, each interval.

Absent beats wrong: without a value that can be trusted, or without the Engine, nothing is changed at all. Why not is
logged and counted once as it begins, and its end is logged.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from cloudpulse import logs
from cloudpulse.clock import Clock
from scaler.docker.config import ScaledService
from scaler.docker.engine import EngineError, NotScalable
from scaler.docker.meters import Meters
from scaler.docker.workload import Replicas, Workload
from scaler.provider import Answer
from scaler.refusal import Refused
from scaler.selector import Selector, parse

Ask = Callable[[str, Selector], Answer]
"""What a metric is now, of the series selected; raises Refused."""

log = logs.get(__name__)


@dataclass(frozen=True)
class State:
    """What the last look found; None is not known. `problem` says why nothing is changed, "" while all is well."""

    replicas: int | None = None
    ready: int | None = None
    desired: int | None = None
    problem: str = "it has not been looked at yet"
