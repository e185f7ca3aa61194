"""From what a simulation's user says about pods and HPA, and from the load, to a Setup."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cloudpulse import manifest
from cloudpulse.durations import Duration
from cloudpulse.errors import ConfigError
from cloudpulse.manifest import Manifest
from forecaster.frame import Frame
from forecaster.simulation import Setup

DEFAULT_TARGET = 0.7
DEFAULT_MEAN_PODS = 10.0
_PEAKS = 2
"""The default maximum, in pods that the peak asks for: forecasts may go beyond it."""


@dataclass(frozen=True)
class Asked:
    """What was said; None is what wasn't."""

    hpa_path: Path | None
    minimum: int | None
    maximum: int | None
    target: float | None
    pod_capacity: float | None
    mean_pods: float | None
    ready: Duration
    sync: Duration
    lag: Duration

    def check(self) -> Manifest | None:
        """The manifest, if there is one; raises ConfigError for what can't be said together."""
        if self.pod_capacity is not None and self.mean_pods is not None:
            raise ConfigError("--pod-capacity and --mean-pods both size a pod: keep one")
        if self.hpa_path is None:
            return None
        if self.minimum is not None or self.maximum is not None:
            raise ConfigError(f"--min, --max: {self.hpa_path} has them: leave them out")
        found = manifest.read(self.hpa_path)
        if found.target.utilization is not None and self.target is not None:
            raise ConfigError(f"--target: {self.hpa_path} has one: leave it out")
        if found.target.average is not None and self.mean_pods is not None:
            raise ConfigError(f"--mean-pods: {self.hpa_path} has the load by pod: leave it out")
        if found.target.average is not None and self.target is not None and self.pod_capacity is not None:
            raise ConfigError(f"--target: it follows from --pod-capacity and {self.hpa_path}: leave it out")
        return found

    def setup(self, load: Frame, found: Manifest | None) -> Setup:
        """Sized for the one series of `load`; raises ConfigError where its numbers make no HPA."""
        average = found.target.average if found else None
        target = (found.target.utilization if found else None) or self.target or DEFAULT_TARGET
        if average is None:
            capacity = self.pod_capacity or _mean(load) / (self.mean_pods or DEFAULT_MEAN_PODS)
        else:
            capacity = self.pod_capacity or float(average) / target
            target = float(average) / capacity
        peak = int(-(-float(np.nanmax(load.values)) // (capacity * target)))
        minimum = found.minimum if found else 1 if self.minimum is None else self.minimum
        maximum = found.maximum if found else self.maximum or max(_PEAKS * peak, minimum, 1)
        behavior = found.behavior if found else None
        try:
            return Setup(capacity, target, minimum, maximum, behavior, self.ready, self.sync, self.lag)
        except ValueError as error:
            raise ConfigError(f"these pods can't be scaled: {error}") from error


def _mean(load: Frame) -> float:
    mean = float(np.nanmean(load.values))
    if not mean > 0:
        raise ConfigError(f"the load is {mean:g} on average: give --pod-capacity, or another load")
    return mean
