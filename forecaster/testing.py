"""Issues that tests and benchmarks make by hand: paths that are known, everything else left open."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cloudpulse.durations import Duration
from cloudpulse.promql import Labels
from forecaster.accuracy import Scores
from forecaster.config import Target
from forecaster.forecast import Forecast
from forecaster.store import Issue


def issue(
    name: str,
    labels: Sequence[Labels],
    values: NDArray[np.float64],
    *,
    start: float,
    step: float = 60.0,
    levels: Sequence[float] = (0.1, 0.5, 0.9),
    shown: Sequence[float] | None = None,
    issued_at: float | None = None,
) -> Issue:
    """`values` are [series, step, level], the first at Unix time `start`; issued at `start` unless told.

    `shown` are the levels that are configured (None: all). Nothing is known about accuracy.
    """
    series, steps, count = values.shape
    target = Target(
        name=name,
        query=name,
        step=Duration(step),
        history=Duration(10 * step),
        horizons=(Duration(max(1, steps - 1) * step),),
        levels=tuple(levels if shown is None else shown),
        every=Duration(step),
    )
    unknown = np.full((series, 1), np.nan)
    return Issue(
        target=target,
        forecast=Forecast(start, step, tuple(levels), tuple(labels), values),
        issued_at=start if issued_at is None else issued_at,
        expected_now=np.full((series, count), np.nan),
        observed=np.full(series, np.nan),
        scores=Scores(unknown, unknown, np.full((series, 1, count), np.nan), np.zeros((series, 1))),
        weights={},
        version=0,
        trained_at=float("nan"),
    )
