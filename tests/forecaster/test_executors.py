"""Training on real workers: processes that are killed, and a Dask cluster that loses one mid-way."""

from __future__ import annotations

import contextlib
import functools
import logging
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloudpulse import config, logs, trace
from cloudpulse.errors import ConfigError, DependencyMissing, WorkersUnavailable
from cloudpulse.testing import FakeClock
from forecaster import executors, models, worker
from forecaster.config import Dask, ForecasterSettings
from forecaster.frame import Frame
from forecaster.model import State
from forecaster.training import Trainer

DAY = 86400


def history() -> Frame:
    times = np.arange(0.0, 8 * DAY, 3600.0)
    values = 100 + np.arange(4)[:, None] * 10 + 40 * np.sin(2 * np.pi * times / DAY)
    return Frame(0.0, 3600.0, tuple({"app": str(i)} for i in range(4)), values)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def submitted(trainer: Trainer) -> Future[State]:
    future = trainer.submit(history, ("profile",), 24)
    assert future is not None
    return future


def nap(_: object) -> int:
    """Work that is under way for a while; gives the process that did it."""
    time.sleep(2)
    return os.getpid()


@pytest.fixture
def trainer() -> Iterator[Trainer]:
    made = Trainer(lambda: executors.process_pool(2), 2, time.time)
    yield made
    made.close()


def test_no_more_than_the_workers_are_given_work_at_a_time(trainer: Trainer) -> None:
    first, second = submitted(trainer), submitted(trainer)
    assert trainer.submit(lambda: pytest.fail("nothing is read for work that can't begin"), ("profile",), 24) is None
    assert set(first.result(60).arrays) == set(second.result(60).arrays)
    until(lambda: (trainer.submit(history, ("profile",), 24)) is not None)


def test_once_closed_nothing_of_the_workers_is_left_that_the_end_of_the_process_could_disturb() -> None:
    before = set(threading.enumerate())
    made = Trainer(executors.process_pool, 1, time.time)
    submitted(made)
    made.close()
    assert set(threading.enumerate()) <= before
    assert not multiprocessing.active_children()


def manners() -> tuple[int, int]:
    """Threads of this process when numpy has worked, and its niceness."""
    np.ones((500, 500)) @ np.ones((500, 500))
    return len(list(Path("/proc/self/task").iterdir())), os.nice(0)


def test_workers_take_one_thread_and_the_back_seat(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(variable, raising=False)
    pool = executors.process_pool(1)
    try:
        threads, niceness = pool.submit(manners).result(60)
    finally:
        pool.shutdown()
    assert niceness == min(19, os.nice(0) + worker.NICENESS)
    assert threads == 2, "the one that works, and the one that watches the parent"


def logging_there() -> tuple[tuple[str, str], str]:
    return logs.configured(), trace.identifier()


def test_workers_log_as_the_forecaster_does(request: pytest.FixtureRequest) -> None:
    root = logging.getLogger()
    request.addfinalizer(functools.partial(root.setLevel, root.level))
    root.setLevel(logging.ERROR)
    pool = executors.process_pool(1)
    try:
        assert pool.submit(logging_there).result(60) == (("error", "text"), "")
    finally:
        pool.shutdown()


def test_what_a_worker_does_belongs_to_the_round_that_handed_it_out(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def fit(*given: Any) -> Any:
        seen.append(trace.identifier())
        return models.fit(*given)

    monkeypatch.setattr("forecaster.training.fit", fit)
    made = Trainer(lambda: ThreadPoolExecutor(1), 1, time.time)
    with trace.span("forecast round"):
        identifier = trace.identifier()
        submitted(made).result(60)
    made.close()
    assert seen == [identifier]


def test_workers_end_when_the_forecaster_is_killed() -> None:
    program = """
import os, sys, time
from forecaster import executors
if __name__ == "__main__":
    pool = executors.process_pool(1)
    print(pool.submit(os.getpid).result(60), flush=True)
    time.sleep(60)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert alive(pid)
        process.kill()
    until(lambda: not alive(pid))


def test_a_killed_worker_fails_its_part_and_is_replaced(trainer: Trainer) -> None:
    submitted(trainer).result(60)
    executor: Any = trainer._executor
    future = executor.submit(nap, 0)
    for pid in workers(trainer):
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(BrokenExecutor):
        future.result(60)
    assert submitted(trainer).result(60).arrays


def test_a_stop_ends_the_workers_and_waits_for_no_training(trainer: Trainer) -> None:
    submitted(trainer).result(60)
    pids = workers(trainer)
    submitted(trainer)
    began = time.monotonic()
    trainer.close()
    assert time.monotonic() - began < 4
    until(lambda: not any(alive(pid) for pid in pids))


def workers(trainer: Trainer) -> list[int]:
    executor: Any = trainer._executor
    return list(executor._processes)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_workers_that_are_not_to_be_had_are_asked_for_once_a_minute() -> None:
    clock, asked = FakeClock(), []

    def none() -> Any:
        asked.append(clock())
        raise WorkersUnavailable("the scheduler is away")

    trainer = Trainer(none, 1, clock)
    with pytest.raises(WorkersUnavailable):
        trainer.submit(history, ("profile",), 24)
    for _ in range(50):
        clock.advance(1)
        assert trainer.submit(history, ("profile",), 24) is None
    clock.advance(10)
    with pytest.raises(WorkersUnavailable):
        trainer.submit(history, ("profile",), 24)
    assert len(asked) == 2


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
    ) as made:
        made.wait_for_workers(2, timeout=60)
        yield made


def test_a_dask_cluster_trains(cluster: Any) -> None:
    settings = ForecasterSettings(workers=2, executor=Dask(dask=cluster.scheduler_address))
    trainer = Trainer(executors.chosen(settings), 2, time.time)
    try:
        state = submitted(trainer).result(60)
        local = Trainer(lambda: executors.process_pool(1), 1, time.time)
        try:
            expected = submitted(local).result(60)
        finally:
            local.close()
        for name, array in expected.arrays.items():
            np.testing.assert_allclose(state.arrays[name], array, rtol=1e-5)
    finally:
        trainer.close()


def test_all_parts_end_when_a_dask_worker_is_killed_mid_way(cluster: Any) -> None:
    executor = executors.DaskExecutor(cluster.scheduler_address)
    try:
        futures = [executor.submit(nap, i) for i in range(6)]
        time.sleep(1)  # both workers are within their first
        killed = next(iter(cluster.workers.values())).pid
        os.kill(killed, signal.SIGKILL)
        done, left = wait(futures, timeout=60)
        assert not left
        pids = [future.result() for future in done]
        assert len(pids) == 6
        assert killed not in pids
    finally:
        executor.shutdown()


def test_training_goes_on_when_a_lost_scheduler_comes_back() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    clock = FakeClock()
    trainer = Trainer(executors.chosen(ForecasterSettings(executor=Dask(dask=address))), 1, clock)
    try:
        with dask("scheduler", "--host", "127.0.0.1", "--port", str(port)) as scheduler:
            until(lambda: reached(port))
            future = submitted(trainer)  # nobody is there to do it
            scheduler.kill()
            with pytest.raises(CancelledError):
                future.result(60)
        with pytest.raises(WorkersUnavailable, match=address):
            submitted(trainer)
        clock.advance(60)
        with dask("scheduler", "--host", "127.0.0.1", "--port", str(port)):
            until(lambda: reached(port))
            with dask("worker", address, "--no-nanny"):
                assert submitted(trainer).result(60).arrays
    finally:
        trainer.close()


@contextlib.contextmanager
def dask(kind: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--no-dashboard", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def reached(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_scheduler_that_is_not_reached_is_an_error_within_seconds() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(WorkersUnavailable, match=f"the Dask scheduler {address}"):
            executors.DaskExecutor(address)
        assert time.monotonic() - began < 30


def test_a_missing_package_is_one_message_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(DependencyMissing, match=r"pip install 'cloudpulse\[dask\]'"):
        executors.chosen(ForecasterSettings(executor=Dask(dask="tcp://host:8786")))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"workers": 0}, "workers: expected 1 or more, got 0"),
        ({"executor": "threads"}, 'executor: expected processes or dask: tcp://host:8786, got "threads"'),
        ({"executor": {"dask": "host:8786"}}, "expected a scheduler such as tcp://host:8786"),
        ({"executor": {"ray": "x"}}, "executor: unknown key `ray`"),
    ],
)
def test_mistakes_in_the_config_are_named(section: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config.ConfigFile(Path("c.yaml"), {"forecaster": section}).section("forecaster", ForecasterSettings)


def test_the_config_says_who_trains() -> None:
    tree = {"forecaster": {"workers": 4, "executor": {"dask": "tcp://host:8786"}}}
    settings = config.ConfigFile(Path("c.yaml"), tree).section("forecaster", ForecasterSettings)
    assert settings.executor == Dask(dask="tcp://host:8786")
    assert ForecasterSettings().executor == "processes"
