"""What tuning by weeks of own history gains over the shipped network, on recorded series that it never saw.

    OPENBLAS_NUM_THREADS=1 python benchmarks/tuning.py ../shared/data [--weeks 5] [--origins 4]

Of each data set that is long enough: the LSTM with weights that were trained without the data set, as shipped and tuned
by `--weeks` before the first origin; pinball loss of the days after each origin, relative to each other.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.held_out import WEIGHTS
from cloudpulse import logs
from forecaster import backtest
from forecaster.frame import Frame
from forecaster.models import tuning, weights
from forecaster.models.grid import Grid
from forecaster.models.lstm import Lstm
from pretraining.recorded import SOURCES, STEP, recorded

LEVELS = tuple(np.round(np.arange(0.1, 0.95, 0.1), 1).tolist())


def measure(source: str, values: Sequence[np.ndarray], weeks: int, count: int) -> str:
    """One line: loss of the tuned network over that of the shipped one, 1 h and 24 h ahead, and what tuning took."""
    grid = Grid(STEP)
    first, length = 7 * weeks * grid.day, min(map(len, values))
    frame = Frame(
        0.0, STEP, tuple({"series": str(i)} for i in range(len(values))), np.stack([v[:length] for v in values])
    )
    origins = np.linspace(first, length - grid.day, count).astype(int).tolist()
    weights.FOLDER = WEIGHTS / f"without-{source}"
    weights.read.cache_clear()
    shipped = weights.read("lstm")
    began = time.process_time()
    tuned = tuning.tuned(shipped, frame.between(0, first))
    seconds = time.process_time() - began
    scores = []
    for parameters in (shipped, tuned):
        found = backtest.refitted(Lstm(parameters), frame, origins, grid.day, LEVELS)
        scores.append([found.scores(0, leads).pinball for leads in (grid.steps(1), grid.day)])
    ratios = [np.exp(np.nanmean(np.log(after / before))) for before, after in zip(*scores, strict=True)]
    return f"{source:<22}{len(values):>7}{ratios[0]:>8.3f}{ratios[1]:>8.3f}{seconds:>10.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--weeks", type=int, default=5)
    parser.add_argument("--origins", type=int, default=4)
    options = parser.parse_args()
    logs.configure("warning")
    print(f"{'data set':<22}{'series':>7}{'1 h':>8}{'24 h':>8}{'tuning s':>10}")
    known = [one for one in recorded(options.data) if one.step == STEP]
    for source in SOURCES:
        least = (7 * options.weeks + 2) * Grid(STEP).day
        values = [one.values for one in known if one.source == source and len(one.values) >= least]
        if values:
            print(measure(source, values, options.weeks, options.origins), flush=True)


if __name__ == "__main__":
    main()
