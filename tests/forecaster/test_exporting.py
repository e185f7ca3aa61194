"""What `/metrics` and the JSON API show of an issue, and what they leave out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import promql_parser
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cloudpulse import exposition
from cloudpulse.durations import Duration
from cloudpulse.testing import FakeClock
from forecaster.accuracy import Scores
from forecaster.app import create_app
from forecaster.config import Target, Threshold
from forecaster.demotion import Demoted
from forecaster.exporting import ForecastCollector
from forecaster.forecast import Forecast
from forecaster.rounds import Rounds
from forecaster.store import ForecastStore, Issue
from forecaster.thresholds import time_to_threshold

NOW = 1_700_000_000.0


def issue(values: list[list[float]], observed: float = 0.0, **changes: Any) -> Issue:
    """One series whose path at each level is a row of `values`; one step a minute, starting a minute from now."""
    levels = (0.1, 0.5, 0.9)[: len(values)] if len(values) != 1 else (0.5,)
    settings = {
        "name": "web",
        "query": "q",
        "step": Duration(60),
        "horizons": (Duration(120), Duration(180)),
        "levels": levels,
        "thresholds": (10.0,),
    }
    target = Target(**{**settings, **changes})
    path = np.array(values, float).T[None]
    return Issue(
        target=target,
        forecast=Forecast(NOW + 60, 60.0, levels, ({"app": 'a"b'},), path),
        issued_at=NOW,
        expected_now=np.full((1, len(levels)), np.nan),
        observed=np.array([observed]),
        scores=Scores(
            np.array([[0.8, np.nan]]),
            np.array([[0.1, np.nan]]),
            np.array([[[0.1, 0.5, 0.9], [np.nan] * 3]]),
            np.array([[2.0, 0.0]]),
        ),
        weights={"seasonal_naive": np.array([0.25]), "lstm": np.array([0.75])},
        version=3,
        trained_at=NOW - 100,
        chances={"10": np.array([[0.25, np.nan]])},
        demoted=Demoted((120.0, 180.0), {"lstm": np.array([[np.nan, NOW - 60]])}, {"lstm": np.array([[np.nan, 2.7]])}),
    )


PATH = [[1.0, 2, 3, 4], [2.0, 4, 6, 8], [3.0, 6, 9, 12]]


def page(one: Issue, clock: FakeClock) -> dict[tuple[str, str], float]:
    """Sample by name and its own labels, app left out."""
    store = ForecastStore(clock)
    store.put(one)
    text = exposition.encode(ForecastCollector(store, clock).collect()).decode()
    samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert sample.labels.pop("app", 'a"b') == 'a"b'
            assert sample.labels.pop("forecast") == "web"
            assert sample.timestamp is None
            samples[sample.name.removeprefix("cloudpulse_"), ",".join(sample.labels.values())] = sample.value
    return samples


def test_every_series_of_the_contract_is_there() -> None:
    samples = page(issue(PATH), FakeClock(NOW))
    assert samples["forecast_value", "2m,0.5"] == 4
    assert samples["forecast_value", "3m,0.9"] == 9
    assert samples["forecast_mase", "2m"] == 0.8
    assert samples["forecast_coverage_ratio", "2m,0.9"] == 0.9
    assert samples["forecast_bias_ratio", "2m"] == 0.1
    assert samples["forecast_model_weight", "lstm"] == 0.75
    assert samples["forecast_threshold_probability", "10,2m"] == 0.25
    assert samples["forecaster_demoted_series", "lstm"] == 1
    assert samples["forecaster_demoted_series", "seasonal_naive"] == 0
    assert samples["forecast_timestamp_seconds", ""] == NOW
    assert samples["forecast_series", ""] == 1
    assert samples["forecaster_model_version", ""] == 3


def test_a_series_is_named_as_matchers_that_promql_reads_back_to_its_labels() -> None:
    samples = page(issue(PATH), FakeClock(NOW))
    ((_, matchers),) = [key for key in samples if key[0] == "forecast_info"]
    assert samples["forecast_info", matchers] == 1
    selector = promql_parser.parse(f"x{{{matchers}}}")
    assert isinstance(selector, promql_parser.VectorSelector)
    assert [(one.name, one.value) for one in selector.matchers.matchers] == [("app", 'a"b')]


def test_what_is_not_known_is_absent() -> None:
    samples = page(issue(PATH), FakeClock(NOW))
    assert not any(name == "forecast_value" and labels.startswith("0s") for name, labels in samples)
    assert ("forecast_mase", "3m") not in samples
    assert ("forecast_threshold_probability", "10,3m") not in samples
    assert not any(math.isnan(value) for value in samples.values())


def test_a_horizon_counts_from_now_not_from_the_prediction() -> None:
    assert page(issue(PATH), FakeClock(NOW + 30))["forecast_value", "2m,0.5"] == 5


def test_a_horizon_beyond_the_path_is_absent() -> None:
    assert ("forecast_value", "3m,0.5") not in page(issue(PATH), FakeClock(NOW + 120))


def test_a_forecast_older_than_five_minutes_is_absent() -> None:
    clock = FakeClock(NOW)
    store = ForecastStore(clock)
    store.put(issue(PATH))
    clock.advance(300)
    assert store.get("web") is not None
    clock.advance(1)
    assert store.get("web") is None
    assert page(issue(PATH), clock) == {}


def test_a_forecast_from_the_future_is_absent_until_the_next_which_takes_its_place() -> None:
    """The clock was set back, and how old the forecast is can't be told."""
    clock = FakeClock(NOW)
    store = ForecastStore(clock)
    store.put(issue(PATH))
    clock.advance(-3600)
    assert store.get("web") is None
    newer = Issue(**{**vars(issue(PATH)), "issued_at": NOW - 3600})
    store.put(newer)
    assert store.get("web") is newer


def test_texts_of_targets_that_are_gone_are_let_go() -> None:
    clock = FakeClock(NOW)
    store = ForecastStore(clock)
    collector = ForecastCollector(store, clock)
    store.put(issue(PATH))
    exposition.encode(collector.collect())
    assert collector._texts.keys() == {"web"}
    store.drop("web")
    exposition.encode(collector.collect())
    assert not collector._texts


@pytest.mark.parametrize(
    ("path", "observed", "seconds"),
    [
        ([5.0, 15, 20], 0, 90),  # half-way between the first and the second step
        ([20.0, 20, 20], 0, 30),  # half-way to the first
        ([5.0, 6, 7], 0, math.inf),
        ([5.0, 6, 7], 12, 0),  # it is there already
        ([5.0, 10, 7], 0, 120),
        ([20.0, 20, 20], np.nan, 60),  # no newest observation: the step itself
    ],
)
def test_time_to_threshold(path: list[float], observed: float, seconds: float) -> None:
    one = issue([path], observed, levels=(0.5,))
    assert time_to_threshold(one, Threshold(value=10.0), NOW)[0, 0] == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("path", "observed", "seconds"),
    [
        ([15.0, 5, 0], 20, 90),
        ([20.0, 20, 20], 12, math.inf),
        ([5.0, 6, 7], 8, 0),  # it is there already
    ],
)
def test_time_to_threshold_downwards(path: list[float], observed: float, seconds: float) -> None:
    one = issue([path], observed, levels=(0.5,))
    assert time_to_threshold(one, Threshold(value=10.0, direction="down"), NOW)[0, 0] == pytest.approx(seconds)


def test_time_to_threshold_counts_down_with_the_clock() -> None:
    one = issue([[5.0, 15, 20]], levels=(0.5,))
    assert time_to_threshold(one, Threshold(value=10.0), NOW + 45)[0, 0] == pytest.approx(45)


def test_time_to_threshold_of_no_forecast_is_nan() -> None:
    assert np.isnan(time_to_threshold(issue([[np.nan] * 3], levels=(0.5,)), Threshold(value=10.0), NOW)).all()


def test_the_json_has_paths_and_nulls_instead_of_nan() -> None:
    clock = FakeClock(NOW)
    store = ForecastStore(clock)
    store.put(issue(PATH))
    rounds = Rounds(lambda _: pytest.fail("nothing to run"), store, None, clock)  # type: ignore[arg-type]
    client = create_app(store, rounds, clock).test_client()
    answer = client.get("/api/v1/forecasts/web").get_json()
    (one,) = answer["series"]
    assert one["values"]["0.9"] == PATH[2]
    assert one["mase"] == {"2m": 0.8, "3m": None}
    assert one["seconds_to_threshold"]["10"]["0.5"] is None, "+Inf is no JSON"
    assert one["threshold_probability"] == {"10": {"2m": 0.25, "3m": None}}
    assert one["demoted"] == {
        "lstm": {
            "horizons": ["3m"],
            "since": NOW - 60,
            "error_ratio": 2.7,
            "why": "its error was 2.7 times that of seasonal naive",
        }
    }
    assert client.get("/api/v1/forecasts/web?app=other").get_json()["series"] == []
    assert client.get("/api/v1/forecasts/none").status_code == 404
    assert client.get("/api/v1/forecasts").get_json()["forecasts"][0]["series_count"] == 1
