"""One new series, cold: from PromQL to a day of quantiles, against the limits of 1 s (0.2 s is the aim).

    OPENBLAS_NUM_THREADS=1 python benchmarks/cold.py [--rounds 20]

A real Prometheus has two weeks of a series at 5 minutes that nothing is known of yet. Measured are the read, the fit on
the spot as a running forecaster does it, and the prediction of 288 steps x 9 levels; medians over the rounds. A
process that has just started also reads the weights from disk and imports numpy, once: the first round.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.reading import STEP, lines
from cloudpulse.config import PrometheusSettings
from cloudpulse.local import past
from cloudpulse.promql import Prometheus
from forecaster.frame import from_series
from forecaster.models import build

LEVELS = tuple(np.round(np.arange(0.1, 0.95, 0.1), 1).tolist())
COLUMNS, STEPS, LIMIT_SECONDS = 4032, 288, 1.0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    end = int(time.time() // STEP * STEP)
    took = []
    with tempfile.TemporaryDirectory() as folder, past.prometheus(lines(1, COLUMNS, end), Path(folder)) as url:
        source = Prometheus(PrometheusSettings(url=url))
        for _ in range(options.rounds):
            began = time.perf_counter()
            start = end - (COLUMNS - 1) * STEP
            frame = from_series(source.range("load", start, end, STEP), start, STEP, COLUMNS)
            read = time.perf_counter()
            predictor = build(("lstm",)).fit(frame, STEPS)
            fitted = time.perf_counter()
            assert np.isfinite(predictor.predict(frame, STEPS, LEVELS).values).all()
            took.append([read - began, fitted - read, time.perf_counter() - fitted, time.perf_counter() - began])
        source.close()
    for name, times in zip(("read", "fit", "predict", "all"), np.array(took).T, strict=True):
        middle, first, worst = (1000 * float(part) for part in (np.median(times), times[0], times.max()))
        print(f"{name:<8}{middle:>8.0f} ms, first {first:.0f} ms, worst {worst:.0f} ms")
    fine = np.median(took, 0)[-1] < LIMIT_SECONDS
    print("within the limit" if fine else f"over the limit of {LIMIT_SECONDS} s")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
