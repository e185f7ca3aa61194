"""The stream of a real forecaster process, to the package `websockets`; its relay, with a real alert bridge."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cramjam
import pytest
import requests
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from cloudpulse.testing import query_api, serving
from forecaster.remoteread import remote_pb2
from tests.forecaster.process import ForecasterProcess, Playing

SECONDS = 30


@pytest.fixture(scope="module")
def playing() -> Playing:
    return Playing()


@pytest.fixture(scope="module")
def prometheus(playing: Playing) -> Iterator[str]:
    with serving(query_api(playing.source)) as url:
        yield url


@pytest.fixture(scope="module")
def forecaster(prometheus: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForecasterProcess]:
    with running(tmp_path_factory.mktemp("forecaster"), prometheus) as process:
        yield process


@contextmanager
def running(place: Path, prometheus: str, lines: str = "") -> Iterator[ForecasterProcess]:
    process = ForecasterProcess(place, prometheus, lines)
    try:
        yield process
    finally:
        process.kill()


def hear(client: ClientConnection, kind: str, **wanted: Any) -> Any:
    """The next message of a kind with these values; what comes before it is passed over."""
    deadline = time.monotonic() + SECONDS
    while True:
        told = json.loads(client.recv(max(0.1, deadline - time.monotonic())))
        if told["kind"] == kind and all(told[key] == value for key, value in wanted.items()):
            return told


def test_a_client_is_greeted_and_told_of_each_new_forecast(forecaster: ForecasterProcess) -> None:
    with connect(forecaster.stream()) as client:
        assert json.loads(client.recv(SECONDS)).keys() == {"kind", "now", "version"}
        first, second = hear(client, "forecast"), hear(client, "forecast")
    assert first == {"kind": "forecast", "forecast": "rps", "issued_at": first["issued_at"], "series_count": 2}
    assert second["issued_at"] > first["issued_at"]


def test_an_anomaly_begins_and_ends_as_the_overview_shows(forecaster: ForecasterProcess, playing: Playing) -> None:
    usual = playing.value
    with connect(forecaster.stream("?kinds=anomaly&forecast=rps")) as client:
        hear(client, "hello")
        from_now = int(time.time()) + 1
        playing.value = lambda times: usual(times) + 50 * (times >= from_now)
        begun = hear(client, "anomaly", state="begins")
        rows = {row["id"]: row for row in forecaster.get("/api/v1/overview")["rows"]}
        assert rows[begun["id"]]["labels"] == begun["labels"]
        assert begun["score"] > 1
        assert begun["observed"] > begun["expected"]["0.9"]
        playing.value = usual
        assert hear(client, "anomaly", state="ends", id=begun["id"])["at"] > begun["at"]


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("kinds=forecasts", "kinds: expected some of forecast, anomaly, alert, got 'forecasts'"),
        ("forecast=rpm", "forecast: none is named 'rpm', expected some of rps"),
        ("after=1", "unknown parameter 'after', expected kinds or forecast"),
        ("kinds=alert&kinds=forecast", "expected each parameter once"),
    ],
)
def test_what_can_not_be_understood_is_refused_with_the_reason(
    forecaster: ForecasterProcess, query: str, why: str
) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(forecaster.stream(f"?{query}")):
        pass
    assert refused.value.response.status_code == 400
    assert refused.value.response.body.decode() == f"{why}\n"


def test_the_stream_takes_get_only(forecaster: ForecasterProcess) -> None:
    answer = requests.post(f"{forecaster.url}/api/v1/stream", timeout=10)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert requests.get(f"{forecaster.url}/api/v1/stream", timeout=10).status_code == 426


def test_clients_are_counted_and_health_is_none_of_their_business(forecaster: ForecasterProcess) -> None:
    with connect(forecaster.stream()) as client:
        hear(client, "forecast")
        assert "\ncloudpulse_forecaster_streams 1.0\n" in requests.get(f"{forecaster.url}/metrics", timeout=10).text
        assert forecaster.get("/health").keys() == {"service", "ready", "forecast rps"}


def test_the_program_answers_reads_and_queries_of_the_same_curve(forecaster: ForecasterProcess) -> None:
    """At now, too: the curve begins with the newest value."""
    with connect(forecaster.stream("?kinds=forecast")) as client:
        hear(client, "forecast", forecast="rps")
    counted = forecaster.get("/api/v1/query?query=count(cloudpulse_forecast_curve)")
    count = int(counted["data"]["result"][0]["value"][1])
    asked = remote_pb2.ReadRequest()
    asked.queries.add(start_timestamp_ms=0, end_timestamp_ms=2**62)
    body = bytes(cramjam.snappy.compress_raw(asked.SerializeToString()))
    answer = requests.post(f"{forecaster.url}/api/v1/read", data=body, timeout=10)
    read = remote_pb2.ReadResponse.FromString(bytes(cramjam.snappy.decompress_raw(answer.content)))
    assert len(read.results[0].timeseries) == count > 0


def test_a_reload_keeps_streams_and_tells_of_what_is_new(forecaster: ForecasterProcess) -> None:
    with connect(forecaster.stream("?kinds=forecast")) as client:
        hear(client, "forecast", forecast="rps")
        forecaster.configure("", names=("rps", "again"))
        assert requests.post(f"{forecaster.url}/-/reload", timeout=10).status_code == 200
        hear(client, "forecast", forecast="again")
        forecaster.configure("")
        assert requests.post(f"{forecaster.url}/-/reload", timeout=10).status_code == 200
        assert hear(client, "forecast")


def test_a_stop_tells_clients_and_ends_the_process_in_time(prometheus: str, tmp_path: Path) -> None:
    """With a bridge that takes the relay's connection and never answers, and a client that reads nothing."""
    with (
        socket.create_server(("127.0.0.1", 0)) as hanging,
        running(
            tmp_path, prometheus, f"  alert_bridge: {{url: 'http://127.0.0.1:{hanging.getsockname()[1]}'}}\n"
        ) as forecaster,
        connect(forecaster.stream()),
        connect(forecaster.stream()) as client,
    ):
        hear(client, "hello")
        relay, _ = hanging.accept()
        began = time.monotonic()
        forecaster.process.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            hear(client, "never")
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
        assert forecaster.process.wait(15) == 0
        assert time.monotonic() - began < 10
        relay.close()
        said = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
        assert not [line for line in said if line["level"] in ("error", "critical")]


def test_after_a_kill_a_client_comes_back_and_goes_on(prometheus: str, tmp_path: Path) -> None:
    with running(tmp_path, prometheus) as forecaster:
        with connect(forecaster.stream()) as client:
            before = hear(client, "forecast")
            forecaster.kill()
            with pytest.raises(ConnectionClosed):
                hear(client, "never")
        forecaster.start()
        with connect(forecaster.stream()) as client:
            hear(client, "hello")
            assert hear(client, "forecast")["issued_at"] > before["issued_at"]


def test_no_more_clients_than_the_config_says(prometheus: str, tmp_path: Path) -> None:
    with running(tmp_path, prometheus, "  stream: {most: 1}\n") as forecaster, connect(forecaster.stream()) as client:
        hear(client, "hello")
        with pytest.raises(InvalidStatus) as refused, connect(forecaster.stream()):
            pass
        assert refused.value.response.status_code == 503
