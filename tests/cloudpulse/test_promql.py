"""Against a real HTTP server that answers as Prometheus does."""

from __future__ import annotations

import base64
import json
import math
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from cloudpulse import config, pacing, promql
from cloudpulse.config import Authorization, BasicAuth, PrometheusSettings, Secret
from cloudpulse.durations import Duration
from cloudpulse.errors import (
    AnswerUnusable,
    ConfigError,
    QueryRejected,
    QueryTimeout,
    SourceError,
    SourceUnavailable,
    TooManySamples,
)
from cloudpulse.promql import MAX_POINTS, Prometheus
from cloudpulse.serving import Environ, StartResponse
from cloudpulse.testing import serving

HUNTER = "hunter2"


class _Api:
    """Answers what it is told to, and keeps what it was asked."""

    def __init__(self) -> None:
        self.status = "200 OK"
        self.body: bytes | None = b""  # None: what `answers` makes of the parameters
        self.answers: Callable[[dict[str, str]], bytes] = _grid
        self.delay_seconds = 0.0
        self.asked: list[tuple[str, dict[str, str], dict[str, str]]] = []
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()

    def says(self, kind: str, result: object) -> None:
        self.body = _success(kind, result)

    def has(self, *series: tuple[dict[str, str], list[tuple[float, str]]]) -> None:
        """Answer ranges out of these samples, which lie on the grid."""
        self.body = None
        self.answers = lambda parameters: _success(
            "matrix",
            [
                {"metric": labels, "values": [[t, v] for t, v in samples if _within(t, parameters)]}
                for labels, samples in series
            ],
        )

    def refuses(self, status: str, kind: str, error: str) -> None:
        self.status = status
        self.body = json.dumps({"status": "error", "errorType": kind, "error": error}).encode()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        form = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode()
        parameters = dict(urllib.parse.parse_qsl(form))
        headers = {key.removeprefix("HTTP_"): value for key, value in environ.items() if key.startswith("HTTP_")}
        with self._lock:
            self.asked.append((environ["PATH_INFO"], parameters, headers))
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        time.sleep(self.delay_seconds)
        with self._lock:
            self.at_once -= 1
        body = self.answers(parameters) if self.body is None else self.body
        start_response(self.status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]


def _success(kind: str, result: object, **more: object) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": result, **more}}).encode()


def _within(time: float, parameters: dict[str, str]) -> bool:
    return float(parameters["start"]) <= time <= float(parameters["end"])


def _times(parameters: dict[str, str]) -> list[float]:
    start, end, step = (float(parameters[name]) for name in ("start", "end", "step"))
    times = [round(start + i * step, 3) for i in range(int((end - start) / step + 1e-6) + 1)]
    assert len(times) <= MAX_POINTS
    return times


def _grid(parameters: dict[str, str]) -> bytes:
    """Two series whose value is the time, the second only in the first half hour of each answer."""
    times = _times(parameters)
    start = float(parameters["start"])
    result = [
        {"metric": {"i": "1"}, "values": [[t, str(t)] for t in times]},
        {"metric": {"i": "2"}, "values": [[t, str(t)] for t in times if t < start + 1800]},
    ]
    return _success("matrix", result)


class _Current:
    """Hands requests to the API of the test that runs: starting a server for each would take half a minute."""

    api = _Api()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        return self.api(environ, start_response)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, _Current]]:
    current = _Current()
    with serving(current) as address:
        yield address, current


@pytest.fixture(autouse=True)
def timeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """How fast this machine is decides nothing here; test_pacing.py is about that."""
    monkeypatch.setattr(pacing, "TARGET_SECONDS", 1e9)
    monkeypatch.setattr(pacing, "REST", 0.0)


@pytest.fixture
def api(server: tuple[str, _Current]) -> _Api:
    server[1].api = _Api()
    return server[1].api


@pytest.fixture
def url(server: tuple[str, _Current]) -> str:
    return server[0]


@pytest.fixture
def prometheus(url: str) -> Iterator[Prometheus]:
    source = Prometheus(PrometheusSettings(url=url))
    yield source
    source.close()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_an_instant_query_gives_one_sample_a_series(api: _Api, prometheus: Prometheus) -> None:
    api.says("vector", [{"metric": {"__name__": "up", "job": "a"}, "value": [1700000000.123, "1.5"]}])
    (series,) = prometheus.instant("up", at=1_700_000_000.1234)
    assert (series.labels, series.value) == ({"__name__": "up", "job": "a"}, 1.5)
    path, parameters, _ = api.asked[0]
    assert path == "/api/v1/query"
    assert (parameters["query"], parameters["time"]) == ("up", "1700000000.123")


def test_an_instant_query_is_about_now_unless_told(api: _Api, prometheus: Prometheus) -> None:
    api.says("vector", [])
    assert prometheus.instant("up") == []
    assert abs(float(api.asked[0][1]["time"]) - time.time()) < 5


def test_a_range_query_gives_every_sample(api: _Api, prometheus: Prometheus) -> None:
    api.has(({"i": "a"}, [(60, "1"), (180, "3")]), ({}, []))
    first, second = prometheus.range("x", 0, 180, 60)
    assert (first.times.tolist(), first.values.tolist()) == ([60.0, 180.0], [1.0, 3.0])
    assert (second.labels, second.times.size, second.values.size) == ({}, 0, 0)
    path, parameters, _ = api.asked[0]
    assert path == "/api/v1/query_range"
    assert [parameters[k] for k in ("start", "end", "step")] == ["180.000", "180.000", "60.000"]


def test_nan_and_infinities_stay_what_they_are(api: _Api, prometheus: Prometheus) -> None:
    texts = ["NaN", "+Inf", "-Inf", "1e-300", "-0"]
    api.has(({}, list(enumerate(texts))))
    values = prometheus.range("x", 0, 4, 1)[0].values
    assert values.dtype == np.float64
    assert math.isnan(values[0])
    assert values[1:].tolist() == [math.inf, -math.inf, 1e-300, 0.0]


def test_labels_keep_every_character(api: _Api, prometheus: Prometheus) -> None:
    labels = {"path": 'C:\\"x"\n\t[1,"2"],', "emoji": "\N{SNOWMAN}\U0001f600", "empty": ""}
    api.has((labels, [(0, "1"), (1, "2")]))
    (series,) = prometheus.range("x", 0, 1, 1)
    assert (series.labels, series.values.tolist()) == (labels, [1.0, 2.0])


def test_a_series_of_native_histograms_has_no_samples(api: _Api, prometheus: Prometheus) -> None:
    api.says("matrix", [{"metric": {"a": "1"}, "histograms": [[0, {"count": "1", "sum": "1"}]]}])
    (series,) = prometheus.range("x", 0, 0, 1)
    assert series.times.size == series.values.size == 0


def test_a_native_histogram_is_no_sample_of_an_instant_query(api: _Api, prometheus: Prometheus) -> None:
    histogram = {"metric": {"a": "1"}, "histogram": [0, {"count": "1", "sum": "1"}]}
    api.says("vector", [histogram, {"metric": {"a": "2"}, "value": [0, "NaN"]}])
    (sample,) = prometheus.instant("x")
    assert sample.labels == {"a": "2"}
    assert math.isnan(sample.value)


@pytest.mark.parametrize("points", [MAX_POINTS, MAX_POINTS + 1, 25_000])
def test_a_long_range_is_asked_in_pieces_on_one_grid(api: _Api, prometheus: Prometheus, points: int) -> None:
    api.body = None
    start, step = 1_700_000_000.5, 15.0
    long, short = prometheus.range("x", start, start + (points - 1) * step, step)
    assert np.array_equal(long.times, start + step * np.arange(points))
    assert np.array_equal(long.values, long.times)
    assert sum(len(_times(parameters)) for _, parameters, _ in api.asked) == points
    assert np.all(np.diff(short.times) > 0)
    assert short.labels == {"i": "2"}


def test_an_end_between_two_points_asks_for_no_point_after_it(api: _Api, prometheus: Prometheus) -> None:
    api.body = None
    assert prometheus.range("x", 0, 119, 60)[0].times.tolist() == [0.0, 60.0]


@pytest.mark.parametrize(("kind", "result"), [("scalar", [0, "1"]), ("string", [0, "text"]), ("matrix", [])])
def test_an_answer_of_another_kind_is_unusable(api: _Api, prometheus: Prometheus, kind: str, result: object) -> None:
    api.says(kind, result)
    with pytest.raises(AnswerUnusable, match=rf"answers a {kind}, not series.*\(query: vector\(1\)\)") as caught:
        prometheus.instant("vector(1)")
    assert not caught.value.retryable


@pytest.mark.parametrize(
    "result",
    [
        {"a": 1},
        [{"metric": {}, "value": ["x"]}],
        [{"value": [0, "1"]}],
        [{"metric": {}, "value": [0, "one"]}],
        [{"metric": {}, "value": None}],
    ],
)
def test_an_answer_of_another_form_is_unusable(api: _Api, prometheus: Prometheus, result: object) -> None:
    api.says("vector", result)
    with pytest.raises(AnswerUnusable, match="not Prometheus' JSON"):
        prometheus.instant("up")


@pytest.mark.parametrize(
    "values",
    [
        "[[0,1]]",
        '[0,"1"]',
        '[["0","1"]]',
        '[[0,"1",0,"1"]]',
        '[[0,"one"]]',
        '[[0,""]]',
        '[[0,"1.2.3"]]',
        '[[,"1"]]',
        "{}",
    ],
)
def test_samples_of_another_form_are_unusable(api: _Api, prometheus: Prometheus, values: str) -> None:
    api.body = _success("matrix", [{"metric": {}, "values": ["?"]}]).replace(b'["?"]', values.encode())
    with pytest.raises(SourceError, match="not Prometheus' JSON"):
        prometheus.range("x", 0, 0, 1)


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        ("400 Bad Request", "bad_data", QueryRejected),
        ("422 Unprocessable Entity", "execution", QueryRejected),
        ("503 Service Unavailable", "timeout", QueryTimeout),
        ("500 Internal Server Error", "internal", SourceUnavailable),
    ],
)
def test_a_refusal_carries_prometheus_reason_and_whether_to_ask_again(
    api: _Api, prometheus: Prometheus, status: str, kind: str, expected: type[SourceError]
) -> None:
    api.refuses(status, kind, "1:5: parse error: unclosed left parenthesis")
    with pytest.raises(expected, match=r"unclosed left parenthesis.*query: rate\(") as caught:
        prometheus.instant("rate(")
    assert type(caught.value) is expected
    assert caught.value.retryable is issubclass(expected, SourceUnavailable)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("200 OK", SourceUnavailable),
        ("502 Bad Gateway", SourceUnavailable),
        ("401 Unauthorized", QueryRejected),
        ("404 Not Found", QueryRejected),
    ],
)
def test_what_is_no_prometheus_is_named_with_its_status(
    api: _Api, prometheus: Prometheus, status: str, expected: type[SourceError]
) -> None:
    api.status, api.body = status, b"<html>Welcome to nginx"
    with pytest.raises(expected, match=rf"answered {status}, not Prometheus' JSON: check prometheus\.url"):
        prometheus.instant("up")


def test_no_answer_in_time_is_worth_another_try(api: _Api, url: str) -> None:
    api.delay_seconds = 0.6
    source = Prometheus(PrometheusSettings(url=url, timeout=Duration(0.2)))
    start = time.perf_counter()
    with pytest.raises(SourceUnavailable, match=r"did not answer within 0\.2 s: up"):
        source.instant("up")
    assert time.perf_counter() - start < 0.55
    source.close()


def test_a_refused_connection_is_worth_another_try() -> None:
    url = f"http://127.0.0.1:{_free_port()}"
    source = Prometheus(PrometheusSettings(url=url))
    with pytest.raises(SourceUnavailable) as caught:
        source.instant("up")
    assert str(caught.value) == f"Prometheus at {url} is not reached: [Errno 111] Connection refused"
    source.close()


def test_it_works_again_after_prometheus_was_away(api: _Api, url: str) -> None:
    source = Prometheus(PrometheusSettings(url=url))
    api.refuses("503 Service Unavailable", "unavailable", "starting up")
    with pytest.raises(SourceUnavailable):
        source.instant("up")
    api.status = "200 OK"
    api.says("vector", [])
    assert source.instant("up") == []
    source.close()


def test_no_more_queries_at_once_than_set(api: _Api, url: str) -> None:
    api.says("vector", [])
    api.delay_seconds = 0.05
    source = Prometheus(PrometheusSettings(url=url, max_concurrent_queries=2))
    threads = [threading.Thread(target=source.instant, args=("up",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(api.asked) == 8
    assert api.most_at_once == 2
    source.close()


def test_basic_auth_and_headers_are_sent_and_a_changed_password_file_is_read(
    api: _Api, url: str, tmp_path: Path
) -> None:
    api.says("vector", [])
    file = tmp_path / "password"
    auth = BasicAuth(username="me", password_file=file)
    source = Prometheus(PrometheusSettings(url=url, basic_auth=auth, headers={"X-Scope-OrgID": "tenant"}))
    for password in (HUNTER, "changed"):
        file.write_text(password + "\n")
        source.instant("up")
        headers = api.asked[-1][2]
        assert base64.b64decode(headers["AUTHORIZATION"].removeprefix("Basic ")) == f"me:{password}".encode()
        assert headers["X_SCOPE_ORGID"] == "tenant"
    file.unlink()
    with pytest.raises(ConfigError, match="can't read the secret"):
        source.instant("up")
    source.close()


def test_a_bearer_token_is_sent(api: _Api, url: str) -> None:
    api.says("vector", [])
    source = Prometheus(PrometheusSettings(url=url, authorization=Authorization(credentials=Secret(HUNTER))))
    source.instant("up")
    assert api.asked[0][2]["AUTHORIZATION"] == f"Bearer {HUNTER}"
    source.close()


@pytest.mark.parametrize("status", ["200 OK", "401 Unauthorized", "503 Service Unavailable", None])
def test_no_error_shows_a_secret(api: _Api, url: str, status: str | None) -> None:
    if status is not None:
        api.status, api.body = status, b"no"
    address = url if status is not None else f"http://127.0.0.1:{_free_port()}"
    source = Prometheus(PrometheusSettings(url=address, basic_auth=BasicAuth(username="me", password=Secret(HUNTER))))
    with pytest.raises(SourceError) as caught:
        source.instant("up")
    error: BaseException | None = caught.value
    while error is not None:
        assert HUNTER not in f"{error!r} {error}"
        assert base64.b64encode(f"me:{HUNTER}".encode()).decode() not in f"{error!r} {error}"
        error = error.__cause__
    source.close()


def test_a_password_in_the_url_is_refused_without_showing_it() -> None:
    """Errors and pages show the URL."""
    for url in (f"http://me:{HUNTER}@localhost:9090", f"htp://me:{HUNTER}@localhost"):
        with pytest.raises(ConfigError, match="put them under basic_auth") as caught:
            config.parse(f"prometheus: {{url: '{url}'}}", Path("c.yaml"), {}).section("prometheus", PrometheusSettings)
        assert HUNTER not in str(caught.value)


def test_a_proxy_of_the_environment_is_not_used(
    api: _Api, prometheus: Prometheus, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.says("vector", [])
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{_free_port()}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{_free_port()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert prometheus.instant("up") == []


class _Busy:
    """A Prometheus that loads `fixed + each` samples a point, tells so if `honest`, and takes at most `limit` of them.

    It answers one series whose value is the time.
    """

    def __init__(self, each: int, fixed: int = 0, limit: float = math.inf, honest: bool = True) -> None:
        self.each, self.fixed, self.limit, self.honest = each, fixed, limit, honest
        self.loaded: list[int] = []

    def __call__(self, parameters: dict[str, str]) -> bytes:
        times = _times(parameters)
        self.loaded.append(self.fixed + self.each * len(times))
        if self.loaded[-1] > self.limit:
            error = "query processing would load too many samples into memory in query execution"
            return json.dumps({"status": "error", "errorType": "execution", "error": error}).encode()
        series = {"metric": {"i": "1"}, "values": [[t, str(t)] for t in times]}
        stats = {"samples": {"totalQueryableSamples": 0, "peakSamples": self.loaded[-1]}}
        return _success("matrix", [series], stats=stats if self.honest else {})


def _asking(api: _Api, url: str, busy: _Busy, max_samples: int = 1000) -> Prometheus:
    api.body, api.answers = None, busy
    return Prometheus(PrometheusSettings(url=url, max_samples_per_query=max_samples))


@pytest.mark.parametrize("busy", [_Busy(10), _Busy(10, fixed=500), _Busy(300), _Busy(1000), _Busy(1, fixed=100)])
def test_no_query_loads_more_samples_than_the_budget(api: _Api, url: str, busy: _Busy) -> None:
    """Whatever its series and whatever lies under an aggregation: nothing of it is known beforehand."""
    source = _asking(api, url, busy)
    (series,) = source.range("x", 0, 299 * 60, 60)
    assert series.times.tolist() == [60.0 * i for i in range(300)]
    assert max(busy.loaded) <= 1000
    source.close()


def test_a_budget_is_used_and_not_only_kept(api: _Api, url: str) -> None:
    busy = _Busy(10)
    source = _asking(api, url, busy)
    source.range("x", 0, 9999 * 60, 60)
    assert busy.loaded[:3] == [10, 80, 640]
    assert set(busy.loaded[3:-1]) == {1000}
    source.close()


def test_the_newest_is_asked_first(api: _Api, url: str) -> None:
    source = _asking(api, url, _Busy(10))
    source.range("x", 0, 299 * 60, 60)
    starts = [float(parameters["start"]) for _, parameters, _ in api.asked]
    assert starts == sorted(starts, reverse=True)
    source.close()


def test_a_range_that_takes_too_long_in_all_is_given_up(api: _Api, url: str) -> None:
    """Each of its pieces may be in time, and there may be hundreds."""
    _asking(api, url, _Busy(1000)).close()
    source = Prometheus(PrometheusSettings(url=url, max_samples_per_query=1000), longest_range_seconds=0.0)
    with pytest.raises(QueryTimeout, match="not read within 0 s: x"):
        source.range("x", 0, 299 * 60, 60)
    assert len(api.asked) <= 1
    source.close()


def test_of_endless_other_queries_the_cost_is_not_kept_forever(api: _Api, url: str) -> None:
    source = _asking(api, url, _Busy(1))
    for n in range(promql.MOST_PACES + 5):
        source._pace(str(n))
    assert len(source._paces) == promql.MOST_PACES
    source.close()


def test_what_a_query_costs_is_remembered(api: _Api, url: str) -> None:
    source = _asking(api, url, _Busy(10))
    source.range("x", 0, 299 * 60, 60)
    api.asked.clear()
    source.range("x", 0, 59 * 60, 60)
    assert len(api.asked) == 1
    source.close()


def test_where_prometheus_does_not_say_what_it_loads_the_answer_is_counted(api: _Api, url: str) -> None:
    source = _asking(api, url, _Busy(10, honest=False), max_samples=100)
    source.range("x", 0, 999, 1)
    assert max(len(_times(parameters)) for _, parameters, _ in api.asked) == 100
    source.close()


def test_a_point_over_the_budget_is_refused_with_what_to_do(api: _Api, url: str) -> None:
    busy = _Busy(1001)
    source = _asking(api, url, busy)
    with pytest.raises(TooManySamples, match=r"loads 1001 samples for a single point, more than .*recording rule"):
        source.range("x", 0, 600, 60)
    assert len(busy.loaded) == 1
    source.close()


def test_a_smaller_limit_of_prometheus_itself_is_found_and_kept(api: _Api, url: str) -> None:
    busy = _Busy(1, limit=50)
    source = _asking(api, url, busy)
    (series,) = source.range("x", 0, 299, 1)
    assert series.times.tolist() == list(range(300))
    assert [loaded > 50 for loaded in busy.loaded].count(True) == 1
    source.close()


def test_a_point_over_prometheus_own_limit_is_an_error(api: _Api, url: str) -> None:
    source = _asking(api, url, _Busy(100, limit=50))
    with pytest.raises(TooManySamples, match="too many samples"):
        source.range("x", 0, 299, 1)
    assert len(api.asked) == 1
    source.close()


@pytest.mark.parametrize(("longest", "works"), [(40, True), (20, False)])
def test_a_query_that_times_out_is_asked_for_once_more_and_shorter(
    api: _Api, url: str, longest: int, works: bool
) -> None:
    """Pieces of 1, 8 and 64 points, then 32; what is too much still is for the next round, which asks for less."""

    def answers(parameters: dict[str, str]) -> bytes:
        if len(_times(parameters)) > longest:
            api.status = "503 Service Unavailable"
            return json.dumps({"status": "error", "errorType": "timeout", "error": "query timed out"}).encode()
        api.status = "200 OK"
        return _grid(parameters)

    api.body, api.answers = None, answers
    source = Prometheus(PrometheusSettings(url=url))
    if not works:
        with pytest.raises(QueryTimeout):
            source.range("x", 0, 999, 1)
    assert source.range("x", 0, 999, 1)[0].times.tolist() == list(range(1000))
    source.close()
