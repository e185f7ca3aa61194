"""Shared by the forecaster's tests: a daily series to forecast, and training without a second process."""

from __future__ import annotations

import functools
import gzip
import io
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from prometheus_client.core import CollectorRegistry

from cloudpulse.durations import Duration
from cloudpulse.promql import Series
from cloudpulse.testing import FakeClock, FakeSource
from forecaster.config import Target
from forecaster.frame import Frame
from forecaster.meters import Meters
from forecaster.pipeline import Pipeline
from forecaster.shard import Shard
from forecaster.store import ForecastStore
from forecaster.training import Trainer

DAY = 86400


APPS = Path(__file__).parent / "data" / "apps.csv.gz"


class InlineExecutor(Executor):
    """Does the work at once, in the calling thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  as executors do
            future.set_exception(error)
        return future


class HeldExecutor(Executor):
    """Keeps trainings until it is told to do some of them, the oldest first."""

    def __init__(self) -> None:
        self.work: list[tuple[Future[Any], Callable[..., Any], Any]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.work.append((future, fn, args))
        return future

    def do(self, count: int = 1) -> None:
        """The workers end some."""
        for _ in range(count):
            future, fn, args = self.work.pop(0)
            future.set_result(fn(*args))

    def lose(self, error: BaseException, which: int = 0) -> None:
        """A worker dies."""
        self.work.pop(which)[0].set_exception(error)

    @property
    def parts(self) -> list[set[str]]:
        """The label `app` of the series in each training that is held."""
        return [{labels["app"] for labels in args[0].labels} for _, _, args in self.work]


def daily(clock: Callable[[], float], labels: dict[str, str], days: float = 8, level: float = 100.0) -> Series:
    """A daily wave with a little noise that is the same at every call, known up to now."""
    end = clock() // 300 * 300
    times = np.arange(end - days * DAY, end + 1, 300.0)
    noise = np.sin(times * 12.9898) * 0.5
    return Series(labels, times, level + 40 * np.sin(2 * np.pi * times / DAY) + noise)


class Bench:
    """A pipeline with everything around it replaced where it would wait."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.clock = FakeClock(1_700_000_100.0)
        self.series: list[Callable[[], Series]] = [lambda: daily(self.clock, {"__name__": "rps", "app": "a"})]
        self.source = FakeSource(lambda _: [make() for make in self.series], self.clock)
        self.registry = CollectorRegistry()
        self.meters = Meters(self.registry)
        self.store = ForecastStore(self.clock)
        settings = {
            "name": "rps",
            "query": "rps",
            "step": Duration(300),
            "history": Duration(8 * DAY),
            "horizons": (Duration(900), Duration(3600)),
            "models": ("seasonal_naive",),
        }
        self.max_series = changes.pop("max_series", 100)
        self.shard = changes.pop("shard", Shard())
        self.executor = changes.pop("executor", InlineExecutor())
        self.workers = changes.pop("workers", 1)
        self.target = Target(**{**settings, **changes})
        self.folder = folder
        self.pipeline = self.anew()

    def anew(self) -> Pipeline:
        """A pipeline on the same folder, as after a restart."""
        self.pipeline = Pipeline(
            self.target,
            self.source,
            self.store,
            Trainer(lambda: self.executor, self.workers, self.clock),
            self.meters,
            self.clock,
            self.folder,
            self.max_series,
            self.shard,
        )
        self.pipeline.load()
        return self.pipeline

    def serve(self, count: int, days: float = 8) -> None:
        """From now on there are so many series."""
        self.series[:] = [
            lambda i=i: daily(self.clock, {"__name__": "rps", "app": f"{i:04}"}, days) for i in range(count)
        ]

    def rounds(self, count: int, apart: float = 300.0) -> None:
        """Rounds with time passing before each but the first."""
        for i in range(count):
            if i:
                self.clock.advance(apart)
            self.pipeline.round()

    def count(self, name: str, **labels: str) -> float:
        """A sample of our own metrics; NaN when absent."""
        value = self.registry.get_sample_value(name, {"forecast": "rps", **labels})
        return float("nan") if value is None else value


@functools.cache
def _apps() -> Frame:
    table = pd.read_csv(io.BytesIO(gzip.decompress(APPS.read_bytes())), index_col="timestamp", parse_dates=True)
    start = table.index[0].timestamp()
    return Frame(start, 300.0, tuple({"app": name} for name in table.columns), table.to_numpy(np.float64).T)


@pytest.fixture
def apps() -> Frame:
    """Four real applications, 15 days of 5 min without gaps."""
    return _apps()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def make_bench(tmp_path: Path) -> Callable[..., Bench]:
    return lambda **changes: Bench(tmp_path, **changes)


@pytest.fixture
def held_executor() -> HeldExecutor:
    return HeldExecutor()
