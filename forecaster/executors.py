"""Where models are trained: processes of this machine, or a Dask cluster."""

from __future__ import annotations

import contextlib
import importlib.util
import multiprocessing
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import Any

from cloudpulse import logs
from cloudpulse.errors import DependencyMissing, WorkersUnavailable
from forecaster import worker
from forecaster.config import Dask, ForecasterSettings

_CONNECT_SECONDS = 3
"""Longer would hold up the round that asks."""


def chosen(settings: ForecasterSettings) -> Callable[[], Executor]:
    """What makes the executor that the config asks for. Raises DependencyMissing."""
    if not isinstance(settings.executor, Dask):
        return lambda: process_pool(settings.workers)
    if importlib.util.find_spec("distributed") is None:
        raise DependencyMissing(
            "forecaster.executor: dask needs the package distributed: pip install 'cloudpulse[dask]'"
        )
    address = settings.executor.dask
    return lambda: DaskExecutor(address)


def process_pool(workers: int = 1) -> Executor:
    """The default executor. `spawn`, since a fork of a process with threads can deadlock."""
    return ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=worker.begin, initargs=logs.configured()
    )


class DaskExecutor(Executor):
    """Work for the Dask cluster whose scheduler is at `address`; its workers need CloudPulse installed.

    A part whose worker dies is given to another by the scheduler (distributed's `allowed-failures`, 3 by default).
    Raises WorkersUnavailable when the scheduler is not reached, at once or later.
    """

    def __init__(self, address: str) -> None:
        import dask
        from distributed import Client

        dask.config.set({"distributed.admin.large-graph-warning-threshold": "1GB"})  # a part is some MB of history
        try:
            self._client = Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)  # type: ignore[no-untyped-call]  # distributed's
        except (OSError, ValueError) as error:
            raise WorkersUnavailable(f"forecaster.executor: the Dask scheduler {address}: {error}") from error
        self._address = address
        self._executor = self._client.get_executor(pure=False)  # type: ignore[no-untyped-call]  # distributed's

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """See Executor. distributed's futures are cancelled when the scheduler is lost."""
        if self._client.status != "running":
            raise WorkersUnavailable(f"forecaster.executor: the connection to {self._address} is lost")
        future: Future[Any] = self._executor.submit(fn, *args, **kwargs)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See Executor. What has been handed out is cancelled; the cluster goes on without us."""
        with contextlib.suppress(TimeoutError):  # it is looking for its scheduler, and gives up by itself
            self._client.close(timeout=1)  # type: ignore[no-untyped-call]  # distributed's
