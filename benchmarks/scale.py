"""How long thousands of series take to be trained in parts on two workers, and to be forecast; and the memory for it.

    OPENBLAS_NUM_THREADS=1 python benchmarks/scale.py --series 10000 [--models auto] [--workers 2]

The columns of examples/data/demand.csv.gz are repeated, each time a little later, until there are enough series of 14
days at 5 min. They go the way that the forecaster's go: groups, workers, versions on disk, parts put together. Memory
is the resident set of this process, which holds the history, and of its workers, all added up, sampled while they work.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import threading
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from forecast import LEVELS, demand
from prometheus_client.core import CollectorRegistry

from cloudpulse import logs
from cloudpulse.durations import Duration
from forecaster.config import Target
from forecaster.executors import process_pool
from forecaster.frame import Frame
from forecaster.lineup import Lineup
from forecaster.meters import Meters
from forecaster.model import label_key
from forecaster.models.grid import Grid
from forecaster.registry import Registry
from forecaster.training import Trainer
from forecaster.upkeep import Upkeep

STEP = 300
MINUTES, GIB, SERIES_A_SECOND = 30.0, 2.0, 250.0
"""Bars for 10,000 series: training on 2 cores, memory, refresh on one core."""


@dataclass
class Memory:
    """Bytes of resident memory, at most."""

    own: int = 0
    all: int = 0


@contextlib.contextmanager
def watched() -> Iterator[Memory]:
    """Sample this process and its children twice a second."""
    memory, stop, process = Memory(), threading.Event(), psutil.Process()

    def watch() -> None:
        while not stop.wait(0.5):
            own = process.memory_info().rss
            total = own
            for child in process.children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    total += child.memory_info().rss
            memory.own, memory.all = max(memory.own, own), max(memory.all, total)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield memory
    finally:
        stop.set()
        thread.join()


def train(frame: Frame, target: Target, workers: int, folder: Path) -> Lineup:
    """Train every series; parts are handed out as the forecaster hands them out."""
    rows = {label_key(labels): row for row, labels in enumerate(frame.labels)}

    def history(keys: Collection[str]) -> Frame:
        return frame.select([rows[key] for key in keys])

    meters = Meters(CollectorRegistry())
    lineup = Lineup(target, Registry(folder), meters, time.time)
    trainer = Trainer(lambda: process_pool(workers), workers, time.time)
    upkeep = Upkeep(target, lineup, trainer, meters, time.time, history)
    try:
        upkeep.serve(list(rows))
        upkeep.hand_out()
        while upkeep.active:
            time.sleep(0.2)
            upkeep.collect()
            upkeep.hand_out()
    finally:
        trainer.close()
    return lineup


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--models", default="auto", help="auto, or names with commas")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    logs.configure("warning")
    day = Grid(STEP).day
    frame = demand(options.series, STEP)
    frame = Frame(frame.start, frame.step, frame.labels, frame.values[:, : 14 * day])
    models = "auto" if options.models == "auto" else tuple(options.models.split(","))
    # A training takes what it takes here: nothing comes due a second time meanwhile.
    target = Target(
        name="scale", query="q", step=Duration(STEP), models=models, levels=LEVELS, train_every=Duration(7 * 86400)
    )
    with tempfile.TemporaryDirectory() as folder, watched() as memory:
        began = time.perf_counter()
        lineup = train(frame, target, options.workers, Path(folder))
        trained = time.perf_counter() - began
        size = Registry(Path(folder)).size(lineup.version)
        manifest = Registry(Path(folder)).newest()
        began, cpu = time.perf_counter(), time.process_time()
        forecast = lineup.predictor(frame).predict(frame, day, LEVELS)
        predicted, cpu = time.perf_counter() - began, time.process_time() - cpu
    known = 0 if manifest is None else manifest.series
    if known != options.series or len(forecast.labels) != options.series:
        raise SystemExit(f"only {known} of {options.series} series were trained")
    minutes = MINUTES * options.series / 10_000
    rate = options.series / cpu
    print(f"{options.series} series x 14 days at {STEP} s, models {options.models}, {options.workers} workers")
    print(f"training  {trained / 60:8.2f} min           bar {MINUTES:g} for 10,000, so {minutes:.2f}")
    print(f"memory    {memory.all / 2**30:8.2f} GiB           bar {GIB:g}; {memory.own / 2**30:.2f} without workers")
    print(f"refresh   {rate:8.0f} series/s/core bar {SERIES_A_SECOND:g}; {predicted:.1f} s in all, one day x 9 levels")
    print(f"on disk   {size / 1e6:8.2f} MB a version")


if __name__ == "__main__":
    main()
