"""What the alert bridge's tests share: an outbox on a fake clock, a receiver, bridge processes."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from alert_bridge import testing_postgresql
from alert_bridge.bridge import Bridge
from alert_bridge.config import AlertBridgeSettings
from alert_bridge.database import Database
from alert_bridge.insight import NoInsights
from alert_bridge.outbox import Outbox
from alert_bridge.postgresql import Postgres
from alert_bridge.queueing import Terms
from alert_bridge.sqlite_file import SqliteFile
from alert_bridge.testing import BridgeProcess, Receiver
from alert_bridge.testing_postgresql import PostgresServer
from cloudpulse import logs
from cloudpulse.testing import FakeClock, serving
from tests.alert_bridge.post_office import PostOffice


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def database(sqlite_database: Database) -> Database:
    return sqlite_database


@pytest.fixture
def sqlite_database(tmp_path: Path) -> Iterator[Database]:
    made = Database(SqliteFile(tmp_path / "data"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    """A real server for the whole session, with a folder and a port of its own."""
    if (programs := testing_postgresql.programs()) is None:
        pytest.skip("needs PostgreSQL: sh .ci/programs test")
    server = PostgresServer(programs)
    yield server
    server.remove()


@pytest.fixture
def postgresql_database(postgresql: PostgresServer) -> Iterator[Database]:
    made = Database(Postgres(postgresql.new_database()))
    yield made
    made.close()


@pytest.fixture
def outbox(database: Database, clock: FakeClock) -> Outbox:
    return Outbox(database, clock, Terms(repeat_after=600, give_up_after=3600))


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
def start_bridge(tmp_path: Path) -> Iterator[Callable[..., BridgeProcess]]:
    """Start a bridge process whose `alert_bridge` section has these lines of YAML and a data_dir; see BridgeProcess."""
    started: list[BridgeProcess] = []

    def start(lines: str, *options: str) -> BridgeProcess:
        started.append(BridgeProcess(tmp_path / f"bridge{len(started)}", lines, *options))
        return started[-1]

    yield start
    for bridge in started:
        bridge.kill()


@pytest.fixture
def post_office() -> Iterator[Callable[..., PostOffice]]:
    """Start an SMTP server on 127.0.0.1; see PostOffice."""
    with contextlib.ExitStack() as running:
        yield lambda *how, **options: running.enter_context(PostOffice(*how, **options))


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Serve a bridge with these settings; gives its URL."""
    with contextlib.ExitStack() as stack:

        def start(**settings: Any) -> str:
            made = Bridge(AlertBridgeSettings(data_dir=tmp_path / "data", **settings), NoInsights())
            stack.callback(made.close)
            made.start()
            return stack.enter_context(serving(made.face))

        yield start


@pytest.fixture(params=["text", "json"])
def log_text(request: pytest.FixtureRequest) -> Iterator[Callable[[], str]]:
    """Everything logged so far, in both formats and down to debug."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    logs.configure("debug", request.param)
    written = io.StringIO()  # not capsys: its streams of the setup are closed when the test runs
    (handler,) = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(written)
    yield written.getvalue
    root.handlers[:] = before[0]
    root.setLevel(before[1])
