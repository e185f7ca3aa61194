"""StreamIsActive: activity as it changes, nothing while there is no value to trust, and an end when it is time."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from cloudpulse.promql import Series
from cloudpulse.testing import FakeClock, FakeSource
from scaler.config import ScalerSettings
from scaler.keda import servicer
from tests.scaler.keda.conftest import Port

RULES = "metrics: [{name: ahead, api: external, query: queue_depth, max_age: 2m}]"
Serve = Callable[..., contextlib.AbstractContextManager[Port]]


class Queue:
    """One series whose value is set; None is no series."""

    def __init__(self, sampled: Callable[..., list[Series]]) -> None:
        self.clock = FakeClock()
        self.depth: float | None = 5.0
        self.source = FakeSource(
            lambda query: [] if self.depth is None else sampled(self.depth, self.clock(), queue="a"), self.clock
        )


@pytest.fixture
def queue(sampled: Callable[..., list[Series]]) -> Queue:
    return Queue(sampled)


class Heard:
    """What a stream brought so far, read in a thread."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.values: list[bool] = []
        self.error: grpc.RpcError | None = None
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for value in self.stream:
                self.values.append(value)
        except grpc.RpcError as error:
            self.error = error

    def until(self, values: list[bool]) -> None:
        deadline = time.monotonic() + 10
        while self.values != values:
            assert time.monotonic() < deadline, f"{self.values} instead of {values}"
            time.sleep(0.01)

    def ended(self) -> bool:
        self._thread.join(10)
        return not self._thread.is_alive()


def test_activity_comes_at_first_and_when_it_changes(serve_keda: Serve, queue: Queue) -> None:
    with serve_keda(RULES, queue.source, queue.clock) as port, port.client() as keda:
        heard = Heard(keda.asking(activationValue="4").stream())
        heard.until([True])
        for depth in (6.0, 9.0, 4.0, 1.0, 5.0):
            queue.depth = depth
            port.evaluate()
            heard.until([True, False] if depth < 5 else [True, False, True] if False in heard.values else [True])
        assert heard.values == [True, False, True]
        heard.stream.cancel()


def test_without_a_value_a_stream_is_silent_and_speaks_when_there_is_one(serve_keda: Serve, queue: Queue) -> None:
    queue.depth = None
    with serve_keda(RULES, queue.source, queue.clock) as port, port.client() as keda:
        heard = Heard(keda.stream())
        for _ in range(3):
            port.evaluate()
            time.sleep(0.05)
        assert heard.values == []
        queue.depth = 5.0
        port.evaluate()
        heard.until([True])
        for bad in (None, float("nan"), -1.0):
            queue.depth = bad
            port.evaluate()
            time.sleep(0.05)
        assert heard.values == [True]  # never a false, which would scale to zero
        queue.depth = 0.0
        port.evaluate()
        heard.until([True, False])
        heard.stream.cancel()


def test_a_stream_ends_when_its_rule_is_gone(
    serve_keda: Serve, queue: Queue, settings_of: Callable[[str], ScalerSettings]
) -> None:
    with serve_keda(RULES, queue.source, queue.clock) as port, port.client() as keda:
        heard = Heard(keda.stream())
        heard.until([True])
        port.service.apply(settings_of("auth: {anonymous: true}\nmetrics: []"))
        assert heard.ended()
        assert heard.error is not None
        assert heard.error.code() is grpc.StatusCode.NOT_FOUND


def test_a_shutdown_ends_open_streams_without_an_error_so_that_keda_comes_back_at_once(
    serve_keda: Serve, queue: Queue
) -> None:
    with serve_keda(RULES, queue.source, queue.clock) as port, port.client() as keda:
        heard = [Heard(keda.stream()) for _ in range(5)]
        for one in heard:
            one.until([True])
        port.server.close()
        assert not port.server.serving
        assert all(one.ended() for one in heard)
        assert [one.error for one in heard] == [None] * 5


def test_hundreds_of_streams_take_no_threads_and_leave_room_for_calls(serve_keda: Serve, queue: Queue) -> None:
    with serve_keda(RULES, queue.source, queue.clock) as port, port.client() as keda:
        assert keda.is_active()
        streams = [keda.stream() for _ in range(300)]
        before = threading.active_count()
        assert [next(stream) for stream in streams] == [True] * 300
        # Ours are in this process, too: a thread each would be seen. The client's own make up for the rest.
        assert threading.active_count() - before < 50
        assert keda.metrics() == 5
        for stream in streams:
            stream.cancel()


def test_too_many_streams_are_refused_and_one_that_goes_makes_room(
    serve_keda: Serve, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servicer, "MAX_STREAMS", 2)
    with serve_keda(RULES, queue.source, queue.clock) as port, port.client() as keda:
        first, second = keda.stream(), keda.stream()
        assert (next(first), next(second)) == (True, True)
        code, details = keda.refused(lambda: next(keda.stream()))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "2 streams are open" in details
        first.cancel()
        deadline = time.monotonic() + 10
        while True:
            try:
                assert next(keda.stream()) is True
                break
            except grpc.RpcError:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        second.cancel()
