"""From what a simulation's user says about pods and HPA, and from the load, to a Setup."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np

from cloudpulse import ahead, manifest
from cloudpulse.durations import Duration, format_duration
from cloudpulse.errors import ConfigError
from cloudpulse.hpa import DEFAULT_SYNC_SECONDS
from cloudpulse.manifest import Manifest
from forecaster import arguments
from forecaster.frame import Frame
from forecaster.simulation import DEFAULT_LAG_SECONDS, Setup

Command = TypeVar("Command", bound=Callable[..., Any])

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


def scaling_options(command: Command) -> Command:
    """The options that make an `Asked`."""
    above = click.FloatRange(0, min_open=True)
    path = click.Path(path_type=Path, dir_okay=False)
    late: dict[str, Any] = {"callback": arguments.duration, "show_default": True}
    for option in reversed(
        (
            click.option("--pod-capacity", type=above, help="The load that one pod serves."),
            click.option("--mean-pods", type=above, help="Instead: so many serve the mean load.  [default: 10]"),
            click.option(
                "--target", callback=arguments.share, help="Share of a pod that the HPA aims at.  [default: 70%]"
            ),
            click.option("--min", "minimum", type=click.IntRange(0), help="minReplicas.  [default: 1]"),
            click.option(
                "--max", "maximum", type=click.IntRange(1), help="maxReplicas.  [default: twice what the peak needs]"
            ),
            click.option("--hpa", "hpa_path", type=path, help="A manifest: its bounds, behavior and target."),
            click.option(
                "--ready", default=format_duration(ahead.DEFAULT_READY_SECONDS), help="Until a new pod serves.", **late
            ),
            click.option("--sync", default=format_duration(DEFAULT_SYNC_SECONDS), help="The HPA's period.", **late),
            click.option(
                "--lag",
                default=format_duration(DEFAULT_LAG_SECONDS),
                help="Until a load is known: scrape, scaler.",
                **late,
            ),
        )
    ):
        command = option(command)
    return command


def _mean(load: Frame) -> float:
    mean = float(np.nanmean(load.values))
    if not mean > 0:
        raise ConfigError(f"the load is {mean:g} on average: give --pod-capacity, or another load")
    return mean
