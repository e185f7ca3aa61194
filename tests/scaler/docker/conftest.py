"""A stage for scenarios on a Docker Engine: a real one (e2e), or what a real one answered, played back.

`RECORD_ENGINE=1 pytest -m e2e tests/scaler/docker` writes the records anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scaler.docker.config import DockerSettings
from scaler.docker.engine import Engine
from tests.scaler.docker import engines

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Stage:
    """`engine` is ours; `others` act beside us on a real Engine, whose work a record has in it already."""

    settings: DockerSettings
    engine: Engine
    socket: str | None
    stopping: threading.Event

    def others(self, method: str, path: str, body: Any = None) -> Any:
        """Someone else's request; None where the Engine is a record."""
        if self.socket is None:
            return None
        status, answer = engines.ask(self.socket, method, path, None if body is None else json.dumps(body).encode())
        assert status < 400, answer
        return answer

    def until(self, path: str, found: Callable[[Any], bool]) -> None:
        """Wait until a real Engine's answer to GET `path` is as `found` wants it."""
        deadline = time.monotonic() + 30
        while self.socket is not None and not found(answer := self.others("GET", path)):
            assert time.monotonic() < deadline, f"took too long: {answer}"
            time.sleep(0.1)

    def removed(self) -> None:
        """Wait for the threads that stop and remove containers, which a record keeps waiting until now."""
        self.stopping.set()
        for thread in threading.enumerate():
            if thread.name.startswith("stop "):
                thread.join(30)
                assert not thread.is_alive()


@pytest.fixture(scope="module")
def real_engine() -> Iterator[str]:
    with engines.real() as path:
        yield path


@pytest.fixture(params=["recorded", pytest.param("real", marks=pytest.mark.e2e)])
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """The record of a test has the test's name."""
    record = DATA / f"{request.node.originalname}.jsonl"
    with contextlib.ExitStack() as stack:
        socket, seen, stopping = None, None, threading.Event()
        if request.param == "recorded":
            path = stack.enter_context(engines.playing(engines.read(record), stopping))
        else:
            path = socket = request.getfixturevalue("real_engine")
            if os.environ.get("RECORD_ENGINE"):
                path, seen = stack.enter_context(engines.recording(path))
        settings = DockerSettings(host=f"unix://{path}")
        engine = Engine(settings)
        stack.callback(engine.close)
        yield Stage(settings, engine, socket, stopping)
        if seen is not None:
            engines.write(record, seen)
