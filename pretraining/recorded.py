"""The recorded series to learn from: the shared data but NAB's, on which anomaly detection is measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.models.robust import mean

SOURCES = ("vm-bitbrains", "services-jumpstarter", "apps-crane", "cloud-monitoring", "web", "cluster")
FINE_STEP, STEP = 60, 300


@dataclass(frozen=True)
class Recorded:
    """One series on its grid; NaN is a gap."""

    source: str  # the folder
    step: int  # seconds
    values: NDArray[np.float64]


def recorded(data: Path) -> list[Recorded]:
    """Every metric that moves; what is finer than 5 min as it is and as 5-min means."""
    return list(_recorded(data))


def coarser(values: NDArray[np.float64], factor: int) -> NDArray[np.float64]:
    """Means over `factor` steps, of at least half of them, ending at the last value."""
    pieces = values[len(values) % factor :].reshape(-1, factor)
    enough = 2 * (~np.isnan(pieces)).sum(1) >= factor
    return np.where(enough, mean(pieces), np.nan).astype(np.float64)


def _recorded(data: Path) -> Iterator[Recorded]:
    catalog = pd.read_csv(data / "catalog.csv")
    catalog = catalog[catalog.dataset.isin(SOURCES) & (catalog.metric != "label") & (catalog["min"] < catalog["max"])]
    for file, rows in catalog.groupby("file", sort=False):
        source, step = str(rows.dataset.iloc[0]), int(rows.step_s.iloc[0])
        table = pd.read_csv(data / str(file), index_col="timestamp", parse_dates=True)
        regular = table[list(rows.metric)].astype(float).asfreq(f"{step}s")
        for metric in regular.columns:
            values = regular[metric].to_numpy(np.float64)
            yield Recorded(source, step, values)
            if step < STEP:
                yield Recorded(source, STEP, coarser(values, STEP // step))
