"""What a forecast will cost its host, told from a sample that is trained here and now."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import psutil

from cloudpulse import names
from cloudpulse.names import Definition
from forecaster import exporting
from forecaster.config import Target
from forecaster.frame import Frame
from forecaster.models import MODELS, fit

_FEW, _MORE = 2, 8
"""Series of the two samples: what the second costs more is the cost by series, the rest is paid once."""


@dataclass(frozen=True)
class Cost:
    """Seconds of one CPU core and bytes of resident memory, measured on a sample of `series`."""

    series: int
    train: float
    train_each: float  # for every series beyond the sample
    predict_each: float
    memory: float  # of this process after training: program, libraries, sample

    def training(self, series: int) -> float:
        """Seconds to train that many."""
        return self.train + max(0, series - self.series) * self.train_each

    def peak(self, series: int, columns: int) -> float:
        """Bytes while training that many: history is held once and handed over once, as float64."""
        return self.memory + 2.0 * 8 * series * columns


def measure(target: Target, sample: Frame) -> Cost:
    """Train the target's models on some series of `sample`, which has the target's step and full length."""
    spent: list[tuple[int, float]] = []
    for count in sorted({min(_FEW, len(sample.labels)), min(_MORE, len(sample.labels))}):
        part = sample.select(range(count))
        began = _cpu_seconds()
        predictor = fit(target.models, target.calendar, part, target.steps)
        spent.append((count, _cpu_seconds() - began))
    began = time.process_time()
    predictor.predict(part, target.steps, target.all_levels)
    predict_each = (time.process_time() - began) / count
    return Cost(count, spent[-1][1], _slope(spent), predict_each, float(psutil.Process().memory_info().rss))


def exported(target: Target) -> int:
    """Series on `/metrics` for each source series, at most: by the labels in the table of names."""
    models = len(MODELS) if target.models == "auto" else len({*target.models, "seasonal_naive"})
    if target.models != "auto" and len(target.models) == 1:
        models = 1
    sizes = {"level": len(target.levels), "threshold": len(target.thresholds), "model": models, "matchers": 1}
    return sum(_size(one, sizes, len(target.horizons)) for one in exporting.BY_SERIES)


def _size(one: Definition, sizes: dict[str, int], horizons: int) -> int:
    now = one is names.FORECAST_VALUE  # which has 0s, too
    known = sizes | {"forecast": 1, "horizon": horizons + now}
    return int(np.prod([known[label] for label in one.labels]))


def _slope(spent: Sequence[tuple[int, float]]) -> float:
    if len(spent) < 2:
        return spent[0][1] / spent[0][0]
    (few, less), (more, longer) = spent
    return max(0.0, (longer - less) / (more - few))


def _cpu_seconds() -> float:
    """Of this process and the children that ended (Prophet's); where a system has no such times, of the wall."""
    times = os.times()
    return sum(times[:4]) or time.perf_counter()
