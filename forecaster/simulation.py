"""Simulation: a load of the past through the HPA's own algorithm, reactive against predictive.

Time goes in syncs of the HPA. A sample describes the step that ends at its time, and is known `lag` seconds later; a
forecast is made from samples that are known and is itself scraped, so that it comes twice as late. Pods serve
`ready` seconds after they were started, and stop at once, those that don't serve yet first. Load above the ready
pods' capacity is not served; nothing queues. Where the load is a gap the metric is missing, the HPA waits, and the time
counts nowhere. Nothing of the load or the forecasts is used before it was known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloudpulse.ahead import DEFAULT_READY_SECONDS
from cloudpulse.hpa import DEFAULT_SYNC_SECONDS, Autoscaler, Behavior
from cloudpulse.recommendation import Tolerances, external_average, thousandths
from forecaster.backtest import Floats
from forecaster.fleet import Fleet, Scale
from forecaster.frame import Frame
from forecaster.replay import Replayed

FLAP_SECONDS = 600.0
"""A change of scale against the one before, within this time, is a flap: pods were started or stopped for nothing."""

DEFAULT_LAG_SECONDS = 30.0
"""A scrape and a question of the scaler, each every 15 s: at worst what a value is late by."""


@dataclass(frozen=True)
class Setup:
    """What is scaled, and by which HPA.

    `pod_capacity` is the load that a pod serves, `target` the share of it that the HPA aims at: its AverageValue is
    the product, to a thousandth as in a manifest. Raises ValueError for numbers that make no HPA.
    """

    pod_capacity: float
    target: float = 0.7
    minimum: int = 1
    maximum: int = 100
    behavior: Behavior | None = None
    ready_seconds: float = DEFAULT_READY_SECONDS
    sync_seconds: float = DEFAULT_SYNC_SECONDS
    lag_seconds: float = DEFAULT_LAG_SECONDS

    def __post_init__(self) -> None:
        Autoscaler(self.minimum, self.maximum)  # refuses bounds that make none
        for name in ("pod_capacity", "sync_seconds"):
            if not (math.isfinite(value := getattr(self, name)) and value > 0):
                raise ValueError(f"{name}: expected more than 0, got {value:g}")
        if not 0 < self.target <= 1:
            raise ValueError(f"target: expected a share of a pod's capacity, up to 1, got {self.target:g}")
        if min(self.ready_seconds, self.lag_seconds) < 0:
            raise ValueError("ready_seconds and lag_seconds: expected 0 or more")
        if self.average < 1:
            raise ValueError(f"the HPA can't hold a pod to {self.pod_capacity * self.target:g}: it counts thousandths")

    @property
    def average(self) -> int:
        """The HPA's AverageValue, in thousandths."""
        return thousandths(round(self.pod_capacity * self.target, 3))


@dataclass(frozen=True)
class Choice:
    """Which forecast the predictive side scales on: `steps` of the load ahead, at a quantile."""

    steps: int
    level: float


@dataclass(frozen=True)
class Figures:
    """What a way of scaling came to, over the time in which the load is known."""

    hours: float  # of load that is known
    short_minutes: float  # with less capacity than load
    unserved: float  # load times seconds: requests, where the load is requests per second
    demand: float  # the same unit
    pod_hours: float  # of pods that exist, serving or not yet
    scalings: int
    flaps: int

    @property
    def unserved_share(self) -> float:
        """Share of the demand; 0 where there is none."""
        return self.unserved / self.demand if self.demand else 0.0


@dataclass(frozen=True)
class Course:
    """One way through the load; `choice` is None for the reactive one."""

    choice: Choice | None
    scale: Scale
    figures: Figures


@dataclass(frozen=True)
class Outcome:
    """The reactive course and one for each choice, over the same time from `start` to `end`."""

    load: Frame
    setup: Setup
    start: float
    end: float
    reactive: Course
    predictive: tuple[Course, ...]


def simulate(load: Frame, replayed: Replayed, choices: Sequence[Choice], setup: Setup) -> Outcome:
    """Let the HPA scale for the one series of `load`, from the first forecast on.

    A forecast stands until the next one is there, and the service goes on along its curve meanwhile: of forecasts that
    are made every third step, a choice of 5 steps needs those of 5, 6 and 7. Raises ValueError where no forecast is
    left to simulate with, a choice was not replayed, or a load is below 0.
    """
    if len(load.labels) != 1:
        raise ValueError(f"a simulation is of one load, not of {len(load.labels)}")
    if np.nanmin(load.values, initial=0.0) < 0:
        raise ValueError(f"a load is never below 0, but this falls to {np.nanmin(load.values):g}")
    known = ~np.isnan(replayed.values).any((1, 2))
    if not known.any():
        raise ValueError("there is no forecast to simulate with")
    start = float(replayed.times[known.argmax()]) + 2 * setup.lag_seconds
    syncs = np.arange(start, load.end, setup.sync_seconds)
    if not len(syncs):
        raise ValueError("the load ends before the first forecast is there")
    measured = _measured(load, syncs - setup.lag_seconds)
    began = _last_known(load.values[0, : 1 + int((start - load.start) // load.step)])
    there = syncs - 2 * setup.lag_seconds + 1e-6
    at = np.searchsorted(replayed.times, there, side="right") - 1
    passed = ((there - replayed.times[at]) // load.step).astype(np.intp)

    def course(choice: Choice | None) -> Course:
        served = measured if choice is None else _floored(_forecast(replayed, choice, at, passed), measured)
        scale = _scaled(syncs, served, setup, began)
        return Course(choice, scale, _figures(load, scale, start, setup))

    return Outcome(load, setup, start, load.end, course(None), tuple(course(choice) for choice in choices))


@dataclass(frozen=True)
class Segments:
    """Stretches of time, one after the other, in which neither load (NaN: a gap) nor pods change."""

    begins: Floats
    seconds: Floats
    load: Floats
    pods: NDArray[np.intp]
    ready: NDArray[np.intp]

    def lacking(self, pod_capacity: float) -> Floats:
        """Load above the ready pods' capacity; NaN in a gap. What floats make of equal numbers is none."""
        over = self.load - self.ready * pod_capacity
        found: Floats = np.where(np.isnan(over) | (over > 1e-9 * self.load), over, 0.0)
        return found


def segments(load: Frame, scale: Scale, start: float) -> Segments:
    """Exactly, from `start` to the end of the load."""
    edges = np.unique(np.concatenate([load.start + load.step * np.arange(load.length), scale.times]))
    edges = np.append(edges[(edges > start) & (edges < load.end)], load.end)
    begins, seconds = np.append(start, edges[:-1]), np.diff(edges, prepend=start)
    middle = begins + seconds / 2
    column = np.clip(np.ceil((middle - load.start) / load.step), 0, load.length - 1).astype(np.intp)
    at = np.searchsorted(scale.times, middle, side="right") - 1
    return Segments(begins, seconds, load.values[0, column], scale.pods[at], scale.ready[at])


def _measured(load: Frame, times: Floats) -> Floats:
    """The newest sample at or before each time; NaN where that is a gap."""
    columns = np.floor((times - load.start) / load.step + 1e-6).astype(np.intp)
    found: Floats = np.where(columns >= 0, load.values[0, np.clip(columns, 0, load.length - 1)], np.nan)
    return found


def _forecast(replayed: Replayed, choice: Choice, at: NDArray[np.intp], passed: NDArray[np.intp]) -> Floats:
    """What the forecasts `at` say of `choice` as seen so many steps later; NaN beyond their curve."""
    if choice.steps not in replayed.horizons or choice.level not in replayed.levels:
        raise ValueError(f"{choice.steps} steps at level {choice.level:g} were not replayed")
    curve = replayed.values[:, :, replayed.levels.index(choice.level)]
    place = {steps: i for i, steps in enumerate(replayed.horizons)}
    columns = np.array([place.get(choice.steps + more, -1) for more in range(int(passed.max()) + 1)])[passed]
    found: Floats = np.where(columns >= 0, curve[at, columns], np.nan)
    return found


def _floored(forecast: Floats, measured: Floats) -> Floats:
    """`floor: reactive`: never less than what is measured; without a forecast that alone, without that nothing."""
    return np.where(np.isnan(measured), np.nan, np.fmax(forecast, measured))


def _last_known(values: Floats) -> float:
    """0 where none is."""
    known = values[~np.isnan(values)]
    return float(known[-1]) if len(known) else 0.0


def _scaled(syncs: Floats, served: Floats, setup: Setup, began: float) -> Scale:
    """The HPA's syncs, one after the other, from as many ready pods as the load `began` asks for."""
    autoscaler = Autoscaler(setup.minimum, setup.maximum, setup.behavior)
    target, tolerances = setup.average, Tolerances.of(setup.behavior)
    values = _thousandths(served)
    pods = min(max(-(-thousandths(began) // target), setup.minimum, 1), setup.maximum)
    fleet = Fleet(float(syncs[0]), pods, setup.ready_seconds)
    for now, value in zip(syncs.tolist(), values, strict=True):
        wanted = None if value is None else external_average((value,), target, fleet.pods, tolerances)
        decided = autoscaler.decide(now, fleet.pods, wanted).replicas
        if decided != fleet.pods:
            autoscaler.changed(now, fleet.pods, decided)
            fleet.scale(now, decided)
    return fleet.history(float(syncs[-1]) + setup.sync_seconds)


def _thousandths(values: Floats) -> list[int | None]:
    """As `thousandths`, but quick: a float's error below a billionth doesn't round up."""
    with np.errstate(invalid="ignore"):
        counted = np.ceil(np.round(values * 1000, 6))
    return [int(value) if value == value else None for value in counted.tolist()]


def _figures(load: Frame, scale: Scale, start: float, setup: Setup) -> Figures:
    cut = segments(load, scale, start)
    known = ~np.isnan(cut.load)
    seconds, demand, lacking = cut.seconds[known], cut.load[known], cut.lacking(setup.pod_capacity)[known]
    changes, sizes = scale.changes()
    return Figures(
        hours=float(seconds.sum()) / 3600,
        short_minutes=float(seconds[lacking > 0].sum()) / 60,
        unserved=float((lacking * seconds).sum()),
        demand=float((demand * seconds).sum()),
        pod_hours=float((cut.pods[known] * seconds).sum()) / 3600,
        scalings=len(changes),
        flaps=int(((np.sign(sizes[1:]) != np.sign(sizes[:-1])) & (np.diff(changes) <= FLAP_SECONDS)).sum()),
    )
