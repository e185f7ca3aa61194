"""What the alert bridge's tests share: an outbox on a fake clock, a receiver, bridge processes."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from alert_bridge.database import Database
from alert_bridge.outbox import Outbox
from alert_bridge.testing import BridgeProcess, Receiver
from cloudpulse import logs
from cloudpulse.testing import FakeClock, serving
from tests.alert_bridge.post_office import PostOffice


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(tmp_path / "data")
    yield made
    made.close()


@pytest.fixture
def outbox(database: Database, clock: FakeClock) -> Outbox:
    return Outbox(database, clock, repeat_after=600, give_up_after=3600)


@pytest.fixture(scope="session")
def front() -> Iterator[tuple[list[Receiver], str]]:
    """One server for all tests, since its start and stop would be most of their time; the last Receiver answers."""
    receivers: list[Receiver] = []
    with serving(lambda environ, start_response: receivers[-1](environ, start_response)) as url:
        yield receivers, url


@pytest.fixture
def receiver(front: tuple[list[Receiver], str]) -> tuple[Receiver, str]:
    receivers, url = front
    receivers.append(Receiver())
    return receivers[-1], url


@pytest.fixture
def start_bridge(tmp_path: Path) -> Iterator[Callable[[str], BridgeProcess]]:
    """Start a bridge process whose `alert_bridge` section has these lines of YAML and a data_dir."""
    started: list[BridgeProcess] = []

    def start(lines: str) -> BridgeProcess:
        started.append(BridgeProcess(tmp_path / f"bridge{len(started)}", lines))
        return started[-1]

    yield start
    for bridge in started:
        bridge.kill()


@pytest.fixture
def post_office() -> Iterator[Callable[..., PostOffice]]:
    """Start an SMTP server on 127.0.0.1; see PostOffice."""
    with contextlib.ExitStack() as running:
        yield lambda *how, **options: running.enter_context(PostOffice(*how, **options))


@pytest.fixture(params=["text", "json"])
def log_text(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """Everything logged so far, in both formats and down to debug."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    logs.configure("debug", request.param)
    yield lambda: capsys.readouterr().err
    root.handlers[:] = before[0]
    root.setLevel(before[1])
