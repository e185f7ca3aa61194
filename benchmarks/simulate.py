"""Does scaling ahead serve a load better? Recorded loads, reactive against predictive by the defaults, side by side.

    OPENBLAS_NUM_THREADS=1 python benchmarks/simulate.py ../shared/data [--every 1m] [--workers 2] [--only app02]

The loads are requests per minute of web sites and load of applications at 1 min (`web` and `apps-crane`). A pod needs
2 min to be ready and serves a tenth of the mean load; the HPA aims at 70 % and has the default behavior. The first
three days of each are learnt from; then a forecast is made every minute by `models: auto`, trained anew every 6 h, with
networks that never saw the data set. It takes an hour with two workers; with `--every 5m` a quarter of that.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from cloudpulse import ahead
from cloudpulse.durations import Duration
from cloudpulse.hpa import Behavior
from forecaster import csvfile
from forecaster.localtime import Calendar
from forecaster.models import fit, weights
from forecaster.models.grid import Grid
from forecaster.replay import Rhythm, replay
from forecaster.simulation import Choice, Outcome, Setup, simulate

SETS = ("web", "apps-crane")
WEIGHTS = Path(__file__).parent / "weights"
POD, MEAN_PODS, READY_SECONDS = 100.0, 10, 120.0
"""The recordings' units are arbitrary: each is scaled so that its mean needs ten pods, which serve 100 each."""
LEVELS = (0.5, 0.7, 0.75, 0.8, 0.9)
FEWER_SHORT, MORE_POD_HOURS, WORSE = 0.5, 0.05, 0.05
"""Bars: short minutes against reactive, pod-hours against reactive, both as means over the loads; worst load."""


def simulated(path: Path, every_seconds: float) -> Outcome:
    """All choices on one recorded load; the first is that of the defaults."""
    weights.FOLDER = WEIGHTS / f"without-{path.parent.name}"
    frame = csvfile.read(path, Duration(60), 365.0)
    load = replace(frame, values=frame.values * (POD * MEAN_PODS / np.nanmean(frame.values)))
    auto = int(np.ceil(ahead.horizon_seconds(READY_SECONDS) / load.step))
    day = Grid(load.step).day
    rhythm = Rhythm(max(1, round(every_seconds / load.step)), day // 4, 14 * day, 3 * day)
    horizons = (auto, 2 * auto)
    replayed = replay(load, functools.partial(fit, "auto", Calendar()), horizons, LEVELS, rhythm)
    default = Choice(auto, ahead.DEFAULT_LEVEL)
    others = [Choice(steps, level) for steps in horizons for level in LEVELS if Choice(steps, level) != default]
    setup = Setup(POD, maximum=10_000, behavior=Behavior(), ready_seconds=READY_SECONDS)
    return simulate(load, replayed, [default, *others], setup)


def ratios(outcome: Outcome, choice: int) -> tuple[float, float, float]:
    """Short minutes, pod-hours and scalings of a predictive course over those of the reactive one."""
    mine, reactive = outcome.predictive[choice].figures, outcome.reactive.figures
    short = mine.short_minutes / reactive.short_minutes if reactive.short_minutes else 1.0 + mine.short_minutes
    return short, mine.pod_hours / reactive.pod_hours, mine.scalings / max(reactive.scalings, 1)


def report(names: Sequence[str], outcomes: Sequence[Outcome]) -> None:
    """A line a load for the defaults, then the means of every choice."""
    print(f"{'load':18} {'days':>5} {'short min':>10} {'ahead':>8} {'ratio':>6} {'pod-hours':>10} {'scalings':>9}")
    for name, outcome in zip(names, outcomes, strict=True):
        reactive, mine = outcome.reactive.figures, outcome.predictive[0].figures
        short, pods, scalings = ratios(outcome, 0)
        print(
            f"{name:18} {reactive.hours / 24:5.1f} {reactive.short_minutes:10.1f} {mine.short_minutes:8.1f} "
            f"{short:6.2f} {100 * (pods - 1):+9.1f}% {100 * (scalings - 1):+8.0f}%"
        )
    print(f"\nmeans over {len(names)} loads against reactive; the first line are the defaults")
    for i, course in enumerate(outcomes[0].predictive):
        assert course.choice is not None
        short, pods, scalings = np.mean([ratios(outcome, i) for outcome in outcomes], 0)
        worst = max(ratios(outcome, i)[0] for outcome in outcomes)
        minutes = course.choice.steps * outcomes[0].load.step / 60
        met = short <= FEWER_SHORT and pods <= 1 + MORE_POD_HOURS and worst <= 1 + WORSE
        print(
            f"{minutes:3.0f} min ahead, level {course.choice.level:g}: short minutes {100 * (short - 1):+.0f}% "
            f"(worst load {100 * (worst - 1):+.0f}%), pod-hours {100 * (pods - 1):+.1f}%, "
            f"scalings {100 * (scalings - 1):+.0f}%  {'within' if met else 'outside'} the bars"
        )


def main() -> None:
    """Simulate every load and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--every", type=Duration.parse, default=Duration(60))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    paths = [path for name in SETS for path in sorted((options.data / name).glob("*.csv.gz"))]
    paths = sorted((path for path in paths if options.only in path.name), key=lambda path: -path.stat().st_size)
    with ProcessPoolExecutor(options.workers) as pool:
        outcomes = list(pool.map(simulated, paths, [float(options.every)] * len(paths)))
    report([path.name.removesuffix(".csv.gz") for path in paths], outcomes)


if __name__ == "__main__":
    main()
