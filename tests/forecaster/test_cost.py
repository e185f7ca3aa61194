"""What a forecast is said to cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from prometheus_client.core import CollectorRegistry

from cloudpulse import names
from forecaster import cost
from forecaster.cost import Cost
from forecaster.exporting import ForecastCollector
from forecaster.frame import from_series
from tests.forecaster.conftest import Bench


@pytest.mark.parametrize("more", [{}, {"thresholds": (100.0, 120.0)}, {"models": ("seasonal_naive", "profile")}])
def test_the_series_that_it_says_are_those_that_are_exported(
    more: dict[str, Any], make_bench: Callable[..., Bench]
) -> None:
    """After rounds enough for every figure to be known."""
    bench = make_bench(**more)
    bench.rounds(20)
    registry = CollectorRegistry()
    registry.register(ForecastCollector(bench.store, bench.clock))
    samples = [sample for family in registry.collect() for sample in family.samples]
    shown = [one for one in samples if "app" in one.labels]
    assert {one.name for one in shown} >= {names.FORECAST_MASE.name, names.FORECAST_COVERAGE.name}
    assert len(shown) == cost.exported(bench.target)


def test_more_series_cost_more_by_what_each_adds() -> None:
    measured = Cost(series=8, train=10.0, train_each=0.5, predict_each=0.001, memory=1e8)
    assert measured.training(8) == 10
    assert measured.training(108) == 60
    assert measured.peak(100, 1000) == 1e8 + 2 * 8 * 100 * 1000


def test_a_sample_is_trained_and_predicted(bench: Bench) -> None:
    frame_of = bench.source.range("rps", bench.clock() - 7 * 86400, bench.clock(), 300)
    sample = from_series(frame_of, bench.clock() // 300 * 300 - 2015 * 300, 300.0, 2016)
    measured = cost.measure(bench.target, sample)
    assert measured.series == 1
    assert measured.predict_each > 0
    assert measured.memory > 1e7
    assert np.isfinite([measured.train, measured.train_each]).all()
