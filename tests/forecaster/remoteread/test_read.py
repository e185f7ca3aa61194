"""`POST /api/v1/read`: what is asked is answered in both forms, and what can't be read is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cramjam
import numpy as np
import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from cloudpulse.testing import FakeClock, serving
from forecaster.curves import NAME, Curves
from forecaster.remoteread import app as remoteread
from forecaster.remoteread import chunks, question, remote_pb2, rows
from forecaster.store import ForecastStore
from forecaster.testing import issue
from tests.forecaster.remoteread.decoder import floats, frames

NOW = 1_700_000_040.0
FIRST, LAST = -(2**63), 2**63 - 1
EQ, NEQ, RE, NRE = range(4)
SAMPLES, CHUNKS = 0, 1
CURVE = (EQ, "__name__", NAME)
Found = dict[tuple[tuple[str, str], ...], list[tuple[int, float]]]


class Reads:
    """The blueprint over a store, and the reads that were told."""

    def __init__(self) -> None:
        self.store = ForecastStore(FakeClock(NOW))
        self.answered: list[int] = []
        app = Flask("test")
        app.register_blueprint(remoteread.blueprint(Curves(self.store), lambda code, _: self.answered.append(code)))
        self.client: FlaskClient = app.test_client()

    def post(self, body: bytes, **headers: str) -> TestResponse:
        sent = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"}
        return self.client.post("/api/v1/read", data=body, headers={**sent, **headers})

    def ask(self, *queries: Sequence[Any], accepted: Sequence[int] = ()) -> TestResponse:
        return self.post(asked(*queries, accepted=accepted))

    def samples(self, *queries: Sequence[Any]) -> list[Found]:
        answer = self.ask(*queries)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "application/x-protobuf"
        assert answer.headers["Content-Encoding"] == "snappy"
        response = remote_pb2.ReadResponse.FromString(bytes(cramjam.snappy.decompress_raw(answer.data)))
        return [
            {labels(one): [(s.timestamp, s.value) for s in one.samples] for one in result.timeseries}
            for result in response.results
        ]

    def chunks(self, *queries: Sequence[Any]) -> list[Found]:
        answer = self.ask(*queries, accepted=[CHUNKS, SAMPLES])
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse"
        assert "Content-Encoding" not in answer.headers
        found: list[Found] = [{} for _ in queries]
        for frame in frames(answer.data):
            (series,) = frame.chunked_series
            kept = found[frame.query_index].setdefault(labels(series), [])
            for chunk in series.chunks:
                assert chunk.type == remote_pb2.Chunk.XOR
                part = floats(chunk.data)
                assert (part[0][0], part[-1][0]) == (chunk.min_time_ms, chunk.max_time_ms)
                kept += part
        return found


def asked(*queries: Sequence[Any], accepted: Sequence[int] = ()) -> bytes:
    """Each query is (start, end, matchers...)."""
    request = remote_pb2.ReadRequest(accepted_response_types=accepted)
    for start, end, *matchers in queries:
        query = request.queries.add(start_timestamp_ms=start, end_timestamp_ms=end)
        for kind, name, value in matchers:
            query.matchers.add(type=kind, name=name, value=value)
    return bytes(cramjam.snappy.compress_raw(request.SerializeToString()))


def labels(series: Any) -> tuple[tuple[str, str], ...]:
    return tuple((label.name, label.value) for label in series.labels)


@pytest.fixture
def reads() -> Reads:
    reads = Reads()
    values = np.random.default_rng(1).normal(100, 5, (30, 288, 3))
    values[3, 5:9] = np.nan
    values[4] = np.nan
    named = tuple({"app": f"a{i}", "zone": "ü\n"} if i % 2 else {"zone": "z", "b": f"{i}"} for i in range(30))
    reads.store.put(issue("web", named, values, start=NOW, step=300))
    reads.store.put(issue("db", ({"app": "a1"}, {}), 1.0 * np.arange(8).reshape(2, 2, 2), start=NOW, levels=(0.5, 0.9)))
    return reads


ALL = (FIRST, LAST, CURVE)


def expected(reads: Reads, start: float = -1e17, end: float = 1e17) -> Found:
    found: Found = {}
    for block in Curves(reads.store).select([], start, end):
        times = [round(time * 1000) for time in block.times]
        for one, row in zip(block.labels, block.values, strict=True):
            pairs = zip(times, row.tolist(), strict=True)
            found[tuple(sorted(one.items()))] = [(t, v) for t, v in pairs if v == v]
    return found


def test_samples_and_chunks_are_what_was_forecast(reads: Reads) -> None:
    whole = expected(reads)
    assert len(whole) == 29 * 3 + 4
    assert reads.samples(ALL) == [whole]
    assert reads.chunks(ALL) == [whole]


def test_both_forms_have_series_sorted_by_labels_and_labels_by_name(reads: Reads) -> None:
    for found in (*reads.samples(ALL), *reads.chunks(ALL)):
        assert list(found) == sorted(found)
        assert all(list(one) == sorted(one) for one in found)


def test_each_query_of_a_request_has_its_result_in_order(reads: Reads) -> None:
    second = NOW * 1000 + 60_000
    queries = [
        (FIRST, LAST, CURVE, (EQ, "forecast", "nobody")),
        (int(second), int(second), CURVE, (EQ, "forecast", "db"), (NEQ, "app", "")),
        (FIRST, LAST, CURVE, (RE, "app", "a1|a3"), (NRE, "level", "0.[15]"), (EQ, "forecast", "web")),
    ]
    for found in (reads.samples(*queries), reads.chunks(*queries)):
        assert [len(one) for one in found] == [0, 2, 2]
        assert list(found[1].values()) == [[(second, 2.0)], [(second, 3.0)]]


def test_the_ends_of_int64_are_the_whole_time(reads: Reads) -> None:
    assert reads.samples((LAST, FIRST, CURVE)) == [{}]
    assert reads.samples((FIRST, FIRST, CURVE)) == [{}]
    assert reads.samples((LAST, LAST, CURVE)) == [{}]


def test_other_names_are_nobodys(reads: Reads) -> None:
    for query in ((FIRST, LAST, (EQ, "__name__", "up")), (FIRST, LAST, (NEQ, "__name__", NAME))):
        assert reads.samples(query) == [{}]
        assert reads.chunks(query) == [{}]


@pytest.mark.parametrize(
    ("accepted", "kind"),
    [
        ((), "application/x-protobuf"),
        ((SAMPLES, CHUNKS), "application/x-protobuf"),
        ((CHUNKS, SAMPLES), "application/x-streamed-protobuf"),
        ((7, CHUNKS), "application/x-streamed-protobuf"),
    ],
)
def test_the_first_accepted_form_that_is_known_is_chosen(reads: Reads, accepted: Sequence[int], kind: str) -> None:
    assert reads.ask(ALL, accepted=accepted).headers["Content-Type"].partition(";")[0] == kind


def test_an_unknown_form_alone_is_refused(reads: Reads) -> None:
    answer = reads.ask(ALL, accepted=[7])
    assert (answer.status_code, "[7]" in answer.text) == (400, True)


def test_what_is_encoded_piece_by_piece_is_one_answer(reads: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = expected(reads)
    monkeypatch.setattr(rows, "AT_ONCE", 1000)
    monkeypatch.setattr(remoteread, "_AT_ONCE", 100)
    monkeypatch.setattr(chunks, "LARGEST_FRAME", 1000)
    assert reads.samples(ALL) == [whole]
    assert reads.chunks(ALL) == [whole]
    assert "Content-Length" not in reads.ask(ALL).headers


def test_a_long_answer_goes_piece_by_piece_over_http(reads: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "AT_ONCE", 1000)
    monkeypatch.setattr(remoteread, "_AT_ONCE", 100)
    with serving(reads.client.application.wsgi_app) as url:
        answer = requests.post(f"{url}/api/v1/read", data=asked(ALL), timeout=20)
        assert answer.headers["Transfer-Encoding"] == "chunked"
        assert answer.content == reads.ask(ALL).data
        chunked = requests.post(f"{url}/api/v1/read", data=asked(ALL, accepted=[CHUNKS]), timeout=20)
        assert chunked.content == reads.ask(ALL, accepted=[CHUNKS]).data


def test_a_long_series_goes_on_in_the_next_frame(reads: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    one = (FIRST, LAST, CURVE, (EQ, "app", "a1"), (EQ, "forecast", "web"), (EQ, "level", "0.5"))
    assert len(frames(reads.ask(one, accepted=[CHUNKS]).data)) == 1
    monkeypatch.setattr(chunks, "LARGEST_FRAME", 1000)
    assert [len(frame.chunked_series[0].chunks) for frame in frames(reads.ask(one, accepted=[CHUNKS]).data)] == [2, 1]
    assert reads.chunks(one) == reads.samples(one)


@pytest.mark.parametrize("start", [1.0, 30_000_000.0, 4_398_046_500.0])
def test_times_of_any_length_are_told(start: float) -> None:
    """A varint of Unix milliseconds has 6 bytes from 1971 to 2109; here it grows within the path."""
    reads = Reads()
    reads.store = ForecastStore(FakeClock(start))
    app = Flask("test")
    app.register_blueprint(remoteread.blueprint(Curves(reads.store), lambda *_: None))
    reads.client = app.test_client()
    reads.store.put(issue("web", ({},), np.arange(60.0).reshape(1, 60, 1), start=start, step=300, levels=(0.5,)))
    assert reads.samples(ALL) == reads.chunks(ALL) == [expected(reads)]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "snappy"),
        (b"\xff\xff\xff\xff\xff\xff", "snappy"),
        (b"plain", "snappy"),
        (bytes(cramjam.snappy.compress_raw(b"\x0a\x7f")), "ReadRequest"),
        (asked((0, 1, (RE, "app", "a("))), 'matcher app=~"a("'),
        (asked((0, 1, (9, "app", "a"))), "type 9"),
        (asked(*[(0, 1)] * (question.MOST_QUERIES + 1)), "at most 64 queries"),
    ],
)
def test_what_can_not_be_read_is_refused_with_the_reason(reads: Reads, body: bytes, problem: str) -> None:
    answer = reads.post(body)
    assert answer.status_code == 400
    assert problem in answer.text
    assert reads.answered == [400]


def test_a_bomb_is_refused_before_it_is_decompressed(reads: Reads) -> None:
    bomb = bytes(cramjam.snappy.compress_raw(bytes(question.LARGEST_MESSAGE + 1)))
    assert len(bomb) < question.LARGEST_BODY
    answer = reads.post(bomb)
    assert (answer.status_code, "once decompressed" in answer.text) == (400, True)


def test_a_body_too_large_is_refused(reads: Reads) -> None:
    assert reads.post(bytes(question.LARGEST_BODY + 1)).status_code == 413


def test_another_encoding_is_refused(reads: Reads) -> None:
    assert reads.post(asked(ALL), **{"Content-Encoding": "gzip"}).status_code == 415


def test_only_post_reads(reads: Reads) -> None:
    answer = reads.client.get("/api/v1/read")
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]


def test_a_long_answer_holds_its_place_until_it_is_sent_or_given_up(
    reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "AT_ONCE", 1000)
    monkeypatch.setattr(remoteread, "_AT_ONCE", 100)
    monkeypatch.setattr(remoteread, "PATIENCE_SECONDS", 0.01)
    held = [reads.ask(ALL) for _ in range(remoteread.MOST_AT_ONCE)]
    refused = reads.ask(ALL)
    assert (refused.status_code, "try again" in refused.text) == (503, True)
    for one in held:
        one.close()
    for _ in range(2 * remoteread.MOST_AT_ONCE):
        with reads.ask(ALL) as answer:
            assert answer.status_code == 200


def test_large_answers_go_one_at_a_time_and_small_ones_beside_them(
    reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "AT_ONCE", 1000)
    monkeypatch.setattr(remoteread, "_AT_ONCE", 100)
    monkeypatch.setattr(remoteread, "PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(remoteread, "LARGE", 1000)
    small = (FIRST, LAST, CURVE, (EQ, "app", "a1"))
    with reads.ask(ALL) as large:
        assert large.status_code == 200
        assert reads.ask(ALL).status_code == 503
        with reads.ask(small) as answer:
            assert answer.status_code == 200
    with reads.ask(ALL) as large:
        assert large.status_code == 200


def test_too_many_samples_are_refused(reads: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remoteread, "MOST_SAMPLES", 1000)
    answer = reads.ask(ALL)
    assert (answer.status_code, "fewer series" in answer.text) == (400, True)
    assert reads.ask((FIRST, LAST, CURVE, (EQ, "app", "a1"))).status_code == 200


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60))
def test_no_message_is_an_error_of_ours(reads: Reads, message: bytes) -> None:
    assert reads.post(bytes(cramjam.snappy.compress_raw(message))).status_code in (200, 400)
