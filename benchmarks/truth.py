"""What live truth costs: scoring, calibrating and judging 10,000 series in one round; time and memory against a limit.

Beside it what the chance of crossing one threshold costs where it is open in every series, the worst that can be.

    OPENBLAS_NUM_THREADS=1 python benchmarks/truth.py [--series 10000] [--rounds 300]

The series are noise, the forecasts cost nothing: only the work of `forecaster/truth.py` is timed. Time is the
processor's, on one thread.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np

from cloudpulse.durations import Duration
from forecaster.config import Target, Threshold
from forecaster.forecast import Forecast
from forecaster.frame import Frame
from forecaster.model import label_key
from forecaster.models.robust import normal_scores
from forecaster.thresholds import threshold_probability
from forecaster.truth import Truth

LEVELS = (0.05, 0.1, 0.5, 0.9, 0.95)
MODELS = ("seasonal_naive", "profile", "lstm", "prophet")
LIMIT_SECONDS, LIMIT_MB, LIMIT_CHANCE_SECONDS = 0.5, 200.0, 5.0
DAY = 288


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=320, help="at 5 min each; the day ahead is scored after 289")
    options = parser.parse_args()
    target = Target(
        name="x",
        query="x",
        step=Duration(300),
        every=Duration(300),
        horizons=(Duration(900), Duration(3600), Duration(86400)),
        levels=LEVELS,
    )
    rng = np.random.default_rng(1)
    labels = tuple({"instance": f"host-{i}:9100", "job": "node"} for i in range(options.series))
    past = rng.normal(10, 1, (options.series, DAY + options.rounds + 1))
    path = np.repeat((10 + 0.7 * normal_scores(LEVELS))[None, None], target.steps, 1).repeat(options.series, 0)
    median = np.full((options.series, target.steps), 10, np.float32)
    parts = {name: median + np.float32(0.1 * i) for i, name in enumerate(MODELS)}

    truth = Truth(target)
    costs = []
    for now in range(DAY, DAY + options.rounds):
        frame = Frame(0.0, 300.0, labels, past[:, : now + 1])
        forecast = Forecast((now + 1) * 300.0, 300.0, LEVELS, labels, path)
        began = time.process_time()
        keys = [label_key(one) for one in labels]
        truth.observed(frame, keys, now * 300.0)
        truth.demoted(keys)
        values = truth.calibrated(forecast, keys)
        issued = Forecast(forecast.start, forecast.step, LEVELS, labels, values)
        truth.predicted(forecast, issued, parts, keys)
        truth.scores(keys)
        costs.append(time.process_time() - began)
    began = time.process_time()
    threshold_probability(forecast, frame, Threshold(value=12.5), target.horizons)
    chance = time.process_time() - began
    state = truth.state()
    size = sum(array.nbytes for array in state.arrays.values()) / 1e6
    print(f"{options.series} series, {len(target.horizons)} horizons, {len(LEVELS)} levels, {len(MODELS)} models")
    late = np.array(costs[-20:])
    results = (
        ("a round, CPU s", float(np.median(late)), LIMIT_SECONDS),
        ("the worst round", float(late.max()), LIMIT_SECONDS),
        ("kept, MB", size, LIMIT_MB),
        ("chances, CPU s", chance, LIMIT_CHANCE_SECONDS),
    )
    for name, value, limit in results:
        print(f"{name:<20}{value:>10.3f}   limit {limit:g}: {'pass' if value <= limit else 'FAIL'}")
    sys.exit(any(value > limit for _, value, limit in results))


if __name__ == "__main__":
    main()
