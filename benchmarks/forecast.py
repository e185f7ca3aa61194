"""How long models take to train and to predict, and how they do against seasonal naive, on the demo's real demand.

    OPENBLAS_NUM_THREADS=1 python benchmarks/forecast.py [--models profile ...] [--series 8] [--step 300]

The columns of examples/data/demand.csv.gz are repeated, each time a little later, until there are enough series.
Accuracy over many recorded series is measured by the forecast benchmark that calls `cloudpulse forecast`.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd

from cloudpulse import share
from forecaster import backtest
from forecaster.frame import Frame
from forecaster.models import MODELS, build
from forecaster.models.grid import Grid

LEVELS = tuple(np.round(np.arange(0.1, 0.95, 0.1), 1).tolist())


def demand(series: int, step: int) -> Frame:
    """15 days of `series` series: 14 to train on, the last to forecast."""
    table = pd.read_csv(share.path("examples", "data", "demand.csv.gz"), index_col="minute")
    values = table.to_numpy(np.float64).T
    values = values[:, : values.shape[1] // (step // 60) * (step // 60)]
    values = values.reshape(len(values), -1, step // 60).mean(-1)
    columns = 15 * Grid(step).day
    rows = np.empty((series, columns))
    for i, row in enumerate(rows):
        row[:] = np.roll(values[i % len(values)], -i)[:columns]
    return Frame(1_700_006_400.0, float(step), tuple({"series": str(i)} for i in range(series)), rows)


def measure(name: str, frame: Frame) -> str:
    """One line: seconds of fit and predict, loss relative to seasonal naive one hour and one day ahead."""
    day = Grid(frame.step).day
    past = frame.between(0, frame.length - day)
    began = time.perf_counter()
    predictor = build("auto" if name == "auto" else (name,)).fit(past, day)
    fitted = time.perf_counter() - began
    predictor.predict(past, day, LEVELS)
    began = time.perf_counter()
    mine = backtest.run(predictor, frame, [past.length], day, LEVELS)
    predicted = time.perf_counter() - began
    floor = backtest.run(MODELS["seasonal_naive"]().fit(past, day), frame, [past.length], day, LEVELS)
    ratios = []
    for leads in (Grid(frame.step).steps(1), day):
        ratio = backtest.relative(mine.scores(0, leads).pinball, floor.scores(0, leads).pinball)
        ratios.append(float(np.exp(np.nanmean(np.log(ratio)))))
    return f"{name:<16}{fitted:>8.2f}{predicted:>10.3f}{ratios[0]:>12.3f}{ratios[1]:>8.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", default=[*MODELS, "auto"])
    parser.add_argument("--series", type=int, default=8)
    parser.add_argument("--step", type=int, default=300, help="seconds, whole minutes")
    options = parser.parse_args()
    frame = demand(options.series, options.step)
    print(f"{options.series} series x 14 days at {options.step} s, one day x 9 levels")
    print(f"{'model':<16}{'fit s':>8}{'predict s':>10}{'loss 1 h':>12}{'1 day':>8}")
    for name in options.models:
        print(measure(name, frame), flush=True)


if __name__ == "__main__":
    main()
