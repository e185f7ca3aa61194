"""The overview and one series' story, as the console and programs get them."""

from __future__ import annotations

import gc
import gzip
import json
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from cloudpulse.durations import Duration
from cloudpulse.errors import SourceUnavailable
from cloudpulse.promql import Series
from cloudpulse.testing import FakeSource
from forecaster import table
from forecaster.accuracy import Scores
from forecaster.app import console_data, create_app
from forecaster.config import Target, Threshold
from forecaster.demotion import Demoted
from forecaster.earlier import Earlier
from forecaster.frame import Frame
from forecaster.rounds import Rounds
from forecaster.store import Issue
from forecaster.table import rounded
from forecaster.trust import trust
from tests.forecaster.conftest import Bench, daily


class Told(Rounds):
    """Rounds of one target that the test drives by hand."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(lambda _: bench.pipeline, bench.store, bench.meters, bench.clock)
        self._bench = bench

    def targets(self) -> list[Target]:
        return [self._bench.target]

    def states(self) -> dict[str, str]:
        return {"rps": "ok" if self._bench.store.get("rps") else "starting"}


class Running:
    """A bench and the HTTP face of what it forecasts; `scraped` is what Prometheus has of our own series."""

    def __init__(self, bench: Bench, scraped: Callable[[str], list[Series]] = lambda _: []) -> None:
        self.bench = bench
        self.prometheus = FakeSource(scraped, bench.clock)
        rounds = Told(bench)
        parts = [console_data(bench.store, rounds, Earlier(self.prometheus), bench.clock)]
        app = create_app(bench.store, rounds, bench.clock, parts)
        self.client: FlaskClient = app.test_client()

    def overview(self) -> Any:
        return self.client.get("/api/v1/overview").get_json()

    def rows(self) -> dict[str, Any]:
        """By the label `app`."""
        return {row["labels"]["app"]: row for row in self.overview()["rows"]}

    def story(self, app: str, query: str = "") -> Any:
        return self.client.get(f"/api/v1/forecasts/rps/series/{self.rows()[app]['id']}{query}").get_json()


@pytest.fixture
def running(bench: Bench) -> Running:
    bench.serve(3)
    bench.rounds(2)
    return Running(bench)


def test_the_overview_has_every_forecast_and_a_row_for_each_series(running: Running) -> None:
    answer = running.overview()
    issue = running.bench.store.get("rps")
    assert issue is not None
    assert answer["forecasts"] == [
        {
            "name": "rps",
            "query": "rps",
            "step_seconds": 300.0,
            "horizons": ["15m", "1h"],
            "levels": list(running.bench.target.levels),
            "thresholds": [],
            "state": "ok",
            "issued_at": running.bench.clock(),
            "trained_at": issue.trained_at,
            "model_version": 1,
            "series_count": 3,
        }
    ]
    assert [row["labels"] for row in answer["rows"]] == list(issue.forecast.labels)
    row = answer["rows"][1]
    assert row["observed"] == pytest.approx(issue.observed[1], rel=1e-3)
    assert row["expected"]["0.9"] == pytest.approx(issue.expected_now[1, -1], rel=1e-3)
    assert row["score"] < 1
    assert (row["trust"], row["mase"], row["demoted"]) == ("unknown", {"15m": None, "1h": None}, [])
    assert row["crossing"] is None


def test_a_forecast_that_has_nothing_yet_is_there_without_rows(bench: Bench) -> None:
    answer = Running(bench).overview()
    assert [(one["state"], one["issued_at"], one["series_count"]) for one in answer["forecasts"]] == [
        ("starting", None, 0)
    ]
    assert answer["rows"] == []


def test_a_sparkline_is_the_past_up_to_now_and_the_median_ahead_at_one_distance(
    make_bench: Callable[..., Bench],
) -> None:
    bench = make_bench(horizons=(Duration(4 * 3600),))
    bench.rounds(2)
    issue = bench.store.get("rps")
    assert issue is not None
    spark = Running(bench).rows()["a"]["spark"]
    assert (spark["past_step"], spark["ahead_step"]) == (1200.0, 1200.0)
    assert (len(spark["past"]), len(spark["ahead"])) == (32, 12)
    assert spark["past"][-1] == pytest.approx(issue.observed[0], rel=1e-3)
    median = issue.forecast.values[0, 3::4, issue.forecast.levels.index(0.5)]
    assert spark["ahead"] == pytest.approx(median, rel=1e-3)


def test_ids_stay_the_same_for_the_same_series_and_differ_otherwise(running: Running) -> None:
    before = {app: row["id"] for app, row in running.rows().items()}
    assert len(set(before.values())) == 3
    running.bench.serve(5)
    running.bench.clock.advance(300)
    running.bench.pipeline.round()
    after = {app: row["id"] for app, row in Running(running.bench).rows().items()}
    assert {app: after[app] for app in before} == before
    assert table.series_id("other", {"app": "0000"}) != before["0000"]


def test_the_seconds_to_a_crossing_count_from_the_now_of_the_answer(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(thresholds=(Threshold(value=90.0), 1e9))
    bench.series[:] = [
        lambda: replace(daily(bench.clock, {"app": "up"}), values=np.linspace(0, 88, 8 * 288 + 1)),
        lambda: daily(bench.clock, {"app": "low"}, level=1.0),
        lambda: daily(bench.clock, {"app": "there"}, level=1000.0),
    ]
    bench.rounds(2)
    issue = bench.store.get("rps")
    assert issue is not None
    path = issue.forecast.values.copy()
    path[0] = np.linspace(80, 100, path.shape[1])[:, None]
    bench.store.put(replace(issue, forecast=replace(issue.forecast, values=path), observed=np.array([80.0, 1, 1000])))
    running = Running(bench)
    first, rows = running.overview(), running.rows()
    crossing = rows["up"]["crossing"]
    assert crossing["threshold"] == 90
    assert 0 < crossing["seconds"] < 3600
    assert (rows["low"]["crossing"], rows["there"]["crossing"]) == (None, {"threshold": 90.0, "seconds": 0})
    bench.clock.advance(60)
    bench.store.refresh("rps", bench.clock())
    later = running.overview()
    assert later["now"] == first["now"] + 60
    assert running.rows()["up"]["crossing"]["seconds"] == pytest.approx(crossing["seconds"] - 60, abs=1)


def test_several_clients_at_once_cost_no_more_than_one(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    real = table._rows

    def counted(issue: Issue, names: Sequence[str]) -> Any:
        made.append(issue)
        return real(issue, names)

    monkeypatch.setattr(table, "_rows", counted)
    answers: list[bytes] = []

    def ask() -> None:
        answers.append(running.client.application.test_client().get("/api/v1/overview").data)

    clients = [threading.Thread(target=ask) for _ in range(8)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert len(made) == 1
    assert len(set(answers)) == 1
    running.bench.clock.advance(60)
    running.bench.pipeline.round()  # nothing new but its time
    running.overview()
    assert len(made) == 1
    running.bench.clock.advance(300)
    running.bench.pipeline.round()
    running.overview()
    assert len(made) == 2
    # Other models, the same time: an Issue of its own.
    issue = running.bench.store.get("rps")
    assert issue is not None
    running.bench.store.put(replace(issue, forecast=replace(issue.forecast, values=issue.forecast.values + 1)))
    running.overview()
    assert len(made) == 3


def test_an_issue_that_was_shown_is_let_go_when_the_next_one_is_there(running: Running) -> None:
    """At 20,000 series it is a gigabyte, and nobody may ask again for days."""
    running.story("0000")
    shown = weakref.ref(running.bench.store.get("rps").forecast)  # type: ignore[union-attr]
    assert shown() is not None
    for _ in range(2):
        running.bench.clock.advance(300)
        running.bench.pipeline.round()
    gc.collect()
    assert shown() is None


def test_an_answer_is_compressed_for_who_takes_it_and_not_sent_again_to_who_has_it(running: Running) -> None:
    plain = running.client.get("/api/v1/overview")
    packed = running.client.get("/api/v1/overview", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.headers["Vary"] == plain.headers["Vary"] == "Accept-Encoding"
    assert gzip.decompress(packed.data) == plain.data
    assert len({plain.headers["ETag"], packed.headers["ETag"]}) == 2
    again = running.client.get("/api/v1/overview", headers={"If-None-Match": plain.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    running.bench.clock.advance(300)
    running.bench.pipeline.round()
    assert running.client.get("/api/v1/overview", headers={"If-None-Match": plain.headers["ETag"]}).status_code == 200


def test_head_has_no_body_and_other_methods_are_refused_as_json(running: Running) -> None:
    head = running.client.head("/api/v1/overview")
    assert (head.status_code, head.data) == (200, b"")
    refused = running.client.post("/api/v1/overview")
    assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, HEAD")
    assert refused.get_json() == {"error": "/api/v1/overview takes GET"}


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("/api/v1/forecasts/rpm/series/0", 404, "no forecast is named rpm"),
        ("/api/v1/forecasts/rps/series/0", 404, "rps has no series with the id 0: see /api/v1/overview"),
        ("/api/v1/forecasts/rps/series/0?past=much", 400, 'past: expected a duration such as 1m, got "much"'),
    ],
)
def test_what_is_not_there_is_told(running: Running, path: str, status: int, error: str) -> None:
    answer = running.client.get(path)
    assert (answer.status_code, answer.get_json()) == (status, {"error": error})


def test_a_stale_forecast_is_no_story(running: Running) -> None:
    row = running.rows()["0000"]
    running.bench.clock.advance(3600)
    answer = running.client.get(f"/api/v1/forecasts/rps/series/{row['id']}")
    assert answer.status_code == 404
    assert "no fresh forecast" in answer.get_json()["error"]


def test_a_story_has_the_past_that_was_read_and_the_future_of_each_model(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(models=("seasonal_naive", "profile"))
    bench.serve(3)
    bench.rounds(2)
    running = Running(bench)
    story = running.story("0001", "?past=2h")
    issue = bench.store.get("rps")
    assert issue is not None
    actual = daily(bench.clock, {}).values[-24:]
    assert story["past"]["actual"] == pytest.approx(actual, abs=1e-3)
    assert story["past"]["start"] == issue.forecast.start - 24 * 300
    assert story["ahead"]["start"] == issue.forecast.start
    assert story["ahead"]["levels"].keys() == {f"{level:g}" for level in issue.forecast.levels}
    assert story["row"]["id"] == running.rows()["0001"]["id"]
    # Asked for this one series, the models say what they said when all were asked.
    frame = bench.pipeline._history.frame
    assert frame is not None
    assert issue.background is not None
    said = issue.background.predictor.predict(_own(frame), issue.forecast.horizon, (0.5,)).parts
    row = [labels["app"] for labels in issue.forecast.labels].index("0001")
    told = {name: medians[row] for name, medians in said.items() if np.isfinite(medians[row]).any()}
    assert story["ahead"]["models"].keys() == told.keys()
    assert "profile" in told
    for name, median in told.items():
        assert story["ahead"]["models"][name] == pytest.approx(median, abs=1e-3)


def _own(frame: Frame) -> Frame:
    """As forecasts show it: without metric names."""
    labels = tuple({key: value for key, value in one.items() if key != "__name__"} for one in frame.labels)
    return replace(frame, labels=labels)


def test_a_model_that_stands_alone_has_the_whole_median(running: Running) -> None:
    issue = running.bench.store.get("rps")
    assert issue is not None
    (models,) = running.story("0002")["ahead"]["models"].values()
    row = [labels["app"] for labels in issue.forecast.labels].index("0002")
    assert models == pytest.approx(issue.forecast.values[row, :, issue.forecast.levels.index(0.5)], rel=0.05)


def test_a_gap_of_the_past_is_a_gap(bench: Bench) -> None:
    series = daily(bench.clock, {"app": "a"})
    keep = np.ones(len(series.times), bool)
    keep[-12:-9] = False
    bench.series[:] = [lambda: Series({"app": "a"}, series.times[keep], series.values[keep])]
    bench.source.range = lambda *_: [Series({"app": "a"}, series.times[keep], series.values[keep])]  # type: ignore[method-assign]
    bench.rounds(1)
    actual = Running(bench).story("a", "?past=1h")["past"]["actual"]
    assert [value is None for value in actual] == [True] * 3 + [False] * 9


def test_a_long_past_is_thinned(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    bench.rounds(1)
    past = Running(bench).story("a", "?past=30d")["past"]
    assert past["step"] == 600.0, "all of the 8 days of history"
    assert len(past["actual"]) == len(past["score"]) == 8 * 144
    assert past["actual"][-1] == pytest.approx(daily(bench.clock, {}).values[-1], abs=1e-3)


def test_what_was_forecast_earlier_and_how_odd_it_was_comes_from_prometheus(running: Running) -> None:
    labels = {"forecast": "rps", "app": "0001"}
    times = running.bench.clock() + 60.0 * np.arange(-3000, 1)

    def scraped(query: str) -> list[Series]:
        value = {"__name__": "cloudpulse_forecast_value", **labels, "horizon": "1h"}
        return [
            Series({**value, "level": "0.9"}, times, np.full(len(times), 9.0)),
            Series({**value, "level": "0.1"}, times, np.full(len(times), 1.0)),
            Series({"__name__": "cloudpulse_forecast_anomaly_score", **labels}, times, np.full(len(times), 0.5)),
        ]

    running.prometheus.samples = scraped
    story = running.story("0001", "?past=1h")
    query = (
        'cloudpulse_forecast_value{forecast="rps", app="0001", horizon="15m"} offset 15m'
        ' or cloudpulse_forecast_value{forecast="rps", app="0001", horizon="1h"} offset 1h'
        ' or cloudpulse_forecast_anomaly_score{forecast="rps", app="0001"}'
    )
    assert running.prometheus.asked == [query]
    told = story["earlier"]["1h"]
    assert list(told["levels"]) == ["0.1", "0.9"]
    assert set(told["levels"]["0.9"]) == {9.0}
    assert len(told["times"]) == len(told["levels"]["0.1"]) >= 11
    assert story["past"]["score"].count(0.5) == len(told["times"])
    assert story["promql"]["score"] == 'cloudpulse_forecast_anomaly_score{forecast="rps", app="0001"}'


def test_a_series_without_a_label_that_others_have_is_asked_for_without_them(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    bench.series[:] = [lambda more=more: daily(bench.clock, {"app": "a", **more}) for more in ({}, {"zone": "z"})]
    bench.rounds(1)
    running = Running(bench)
    whole = next(row for row in running.overview()["rows"] if row["labels"] == {"app": "a"})
    story = running.client.get(f"/api/v1/forecasts/rps/series/{whole['id']}").get_json()
    assert story["promql"]["curve"] == 'cloudpulse_forecast_curve{forecast="rps", app="a", zone=""}'


def test_a_prometheus_that_fails_leaves_the_story_without_what_it_remembers(running: Running) -> None:
    running.prometheus.error = SourceUnavailable("down")
    story = running.story("0000")
    assert story["earlier"] == {}
    assert set(story["past"]["score"]) == {None}
    assert story["past"]["actual"][-1] is not None


def test_a_prometheus_that_hangs_is_asked_by_few_at_a_time(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forecaster.earlier.WAIT_SECONDS", 0.04)
    asked, go_on = threading.Semaphore(0), threading.Event()

    def hangs(_: str) -> list[Series]:
        asked.release()
        go_on.wait(10)
        return []

    running.prometheus.samples = hangs
    paths = [f"/api/v1/forecasts/rps/series/{row['id']}" for row in running.overview()["rows"]]
    clients = [
        threading.Thread(target=running.client.application.test_client().get, args=(path,)) for path in paths[:2]
    ]
    for client in clients:
        client.start()
    for _ in clients:
        assert asked.acquire(timeout=10)
    assert running.client.get(paths[2]).get_json()["earlier"] == {}, "the third doesn't wait for them"
    go_on.set()
    for client in clients:
        client.join()


def test_labels_are_data_in_promql_and_in_json(bench: Bench) -> None:
    name = 'a"b\\c\n<script>'
    bench.series[:] = [lambda: daily(bench.clock, {"app": name})]
    bench.rounds(1)
    story = Running(bench).story(name)
    assert story["row"]["labels"] == {"app": name}
    assert story["promql"]["value"] == 'cloudpulse_forecast_value{forecast="rps", app="a\\"b\\\\c\\n<script>"}'


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, 0.0), (1234567.0, 1235000.0), (0.000123456, 0.0001235), (-99.996, -100.0), (1e300, 1e300), (0.1, 0.1)],
)
def test_numbers_of_a_row_have_four_digits(value: float, expected: float) -> None:
    (found,) = rounded(np.array([value])).tolist()
    assert json.dumps(found) == json.dumps(expected)


def test_what_is_no_number_is_null() -> None:
    assert np.isnan(rounded(np.array([np.nan, np.inf, -np.inf]))).all()


def graded(bench: Bench, mase: float, coverage: float, **changes: Any) -> str:
    """The word for a series of which all horizons have this MASE and the level 0.5 this coverage."""
    bench.rounds(1)
    issue = bench.store.get("rps")
    assert issue is not None
    levels = np.array(issue.forecast.levels)
    shares = np.where(levels == 0.5, coverage, levels)
    scores = Scores(np.full((1, 2), mase), np.zeros((1, 2)), np.tile(shares, (1, 2, 1)), np.ones((1, 2)))
    settled = {"scores": scores, "version": 1, "trained_at": issue.issued_at - 60}
    (word,) = trust(replace(issue, **{**settled, **changes}))
    return word


@pytest.mark.parametrize(
    ("mase", "coverage", "word"),
    [(0.5, 0.5, "good"), (1.0, 0.5, "fair"), (0.5, 0.3, "fair"), (1.2, 0.5, "poor"), (0.5, 0.9, "poor")],
)
def test_trust_is_what_error_and_coverage_say(bench: Bench, mase: float, coverage: float, word: str) -> None:
    assert graded(bench, mase, coverage) == word


def test_a_series_that_seasonal_naive_has_exactly_is_judged_by_its_coverage(bench: Bench) -> None:
    assert graded(bench, np.nan, 0.5) == "good"


def test_old_models_and_demoted_ones_are_not_good(bench: Bench) -> None:
    assert graded(bench, 0.5, 0.5, trained_at=bench.clock() - 10 * 86400) == "fair"
    assert graded(bench, 0.5, 0.5, trained_at=np.nan, version=0) == "fair"
    out = Demoted((900.0,), {"lstm": np.array([[1.0]])}, {"lstm": np.array([[3.0]])})
    assert graded(bench, 0.5, 0.5, demoted=out) == "fair"


def test_a_horizon_counts_once_it_was_checked_for_as_long_as_it_is(bench: Bench) -> None:
    assert graded(bench, 0.5, 0.5) == "good"
    issue = bench.store.get("rps")
    assert issue is not None
    shares = np.tile(np.array(issue.forecast.levels), (1, 2, 1))
    mase, none = np.array([[0.5, 3.0]]), np.zeros((1, 2))
    for spans, word in (([0.9, 0.9], "unknown"), ([1.0, 0.9], "good"), ([1.0, 1.0], "poor")):
        assert graded(bench, 0.5, 0.5, scores=Scores(mase, none, shares, np.array([spans]))) == word


def test_before_anything_is_scored_trust_is_unknown(running: Running) -> None:
    assert {row["trust"] for row in running.rows().values()} == {"unknown"}
