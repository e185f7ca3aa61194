"""The data's way, with real storage and real models; only time, Prometheus and the second process are stood in for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cloudpulse.durations import Duration
from cloudpulse.errors import AnswerUnusable, SourceUnavailable
from cloudpulse.promql import Series
from cloudpulse.testing import captured_logs
from forecaster.config import Bounds, Target, Threshold
from forecaster.forecast import Forecast
from forecaster.frame import Frame
from forecaster.model import Predictor, State
from forecaster.models import build
from forecaster.models.robust import normal_scores
from forecaster.pipeline import _kept, reason
from tests.forecaster.conftest import daily

REASONS = ("source_gone", "too_short", "max_series")


def test_the_first_round_forecasts_at_once(bench: Any) -> None:
    bench.pipeline.round()
    issue = bench.store.get("rps")
    assert issue is not None
    assert issue.forecast.labels == ({"app": "a"},)
    assert issue.version == 0
    assert issue.forecast.values.shape == (1, bench.target.steps, len(bench.target.levels))
    assert not np.isnan(issue.forecast.values).any()


def test_trained_models_take_over_and_survive_a_restart(bench: Any) -> None:
    bench.rounds(2)
    assert bench.store.get("rps").version == 1
    bench.pipeline.save()
    bench.store.drop("rps")
    bench.source.asked.clear()
    bench.anew().round()
    issue = bench.store.get("rps")
    assert issue.version == 1
    assert issue.trained_at == 1_700_000_100.0


@pytest.mark.parametrize("change", [{"step": Duration(60)}, {"query": "other"}, {"models": ("profile",)}])
def test_models_of_another_config_are_not_taken_up(make_bench: Callable[..., Any], change: dict[str, Any]) -> None:
    make_bench().rounds(2)
    changed = make_bench(**change)
    changed.pipeline.round()
    assert changed.store.get("rps").version == 0
    changed.clock.advance(300)
    changed.pipeline.round()
    assert changed.store.get("rps").version == 2


def test_models_by_local_time_take_over_and_survive_a_restart(make_bench: Callable[..., Any]) -> None:
    bench = make_bench(timezone="Europe/Berlin", models=("seasonal_naive", "profile"))
    bench.rounds(2)
    trained = bench.store.get("rps").forecast
    bench.pipeline.save()
    bench.store.drop("rps")
    bench.anew().round()
    issue = bench.store.get("rps")
    assert issue.version == 1
    np.testing.assert_allclose(issue.forecast.values, trained.values, rtol=1e-6)
    assert make_bench(timezone="UTC", models=("seasonal_naive", "profile")).pipeline._lineup.version == 0


def test_models_are_trained_again_after_the_interval(make_bench: Callable[..., Any]) -> None:
    bench = make_bench()
    bench.rounds(3)
    assert bench.store.get("rps").version == 1
    bench.clock.advance(bench.target.train_every)
    bench.rounds(2)
    assert bench.store.get("rps").version == 2


def test_a_failed_training_leaves_the_models_before(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.rounds(2)

    def fail(*_: Any) -> State:
        raise MemoryError

    monkeypatch.setattr("forecaster.training.train", fail)
    bench.clock.advance(bench.target.train_every)
    bench.rounds(3)
    assert bench.store.get("rps").version == 1
    assert bench.count("cloudpulse_forecaster_errors_total", reason="train") == 1


def test_what_was_expected_for_now_is_the_forecast_made_before(bench: Any) -> None:
    bench.pipeline.round()
    first = bench.store.get("rps")
    assert np.isnan(first.expected_now).all()
    bench.clock.advance(300)
    bench.pipeline.round()
    np.testing.assert_allclose(bench.store.get("rps").expected_now, first.forecast.values[:, 0])


def test_predictions_are_scored_when_their_time_comes(bench: Any) -> None:
    bench.rounds(20)
    scores = bench.store.get("rps").scores
    # 15 minutes is 3 rounds: 17 scored. An hour is 12 rounds: 8 scored.
    assert scores.mase.shape == (1, 2)
    assert 0.5 < scores.mase[0, 0] < 2  # it is seasonal naive, scored against seasonal naive
    assert (scores.coverage >= 0).all()
    assert (scores.coverage <= 1).all()


def test_scores_survive_a_restart(bench: Any) -> None:
    bench.rounds(20)
    before = bench.store.get("rps").scores
    bench.pipeline.save()
    bench.anew()
    bench.clock.advance(300)
    bench.pipeline.round()
    np.testing.assert_allclose(bench.store.get("rps").scores.mase, before.mase, rtol=0.2)


def test_without_a_new_grid_point_nothing_is_asked(bench: Any) -> None:
    bench.rounds(2)
    asked = len(bench.source.asked)
    bench.clock.advance(60)
    bench.pipeline.round()
    assert len(bench.source.asked) == asked
    assert bench.store.get("rps").issued_at == bench.clock()


def test_prometheus_away_changes_nothing_and_the_forecast_ages_until_absent(bench: Any) -> None:
    bench.rounds(2)
    bench.source.error = SourceUnavailable("gone")
    for _ in range(3):
        bench.clock.advance(300)
        with pytest.raises(SourceUnavailable):
            bench.pipeline.round()
    assert bench.store.get("rps") is None
    bench.source.error = None
    bench.pipeline.round()
    assert bench.store.get("rps") is not None


def test_a_round_that_took_too_long_is_not_passed_off_as_new(bench: Any) -> None:
    """Its forecast is as old as the moment at which it began."""
    answer = bench.source.samples

    def slow(query: str) -> list[Series]:
        found = answer(query)
        bench.clock.advance(1000)
        return list(found)

    bench.source.samples = slow
    bench.pipeline.round()
    assert bench.store.get("rps") is None
    bench.source.samples = answer
    bench.pipeline.round()
    assert bench.store.get("rps") is not None


def test_a_series_whose_source_is_gone_disappears_after_ten_minutes_of_a_five_minute_step(bench: Any) -> None:
    gone_at = bench.clock()
    bench.series.append(lambda: daily_until(bench, gone_at))
    bench.rounds(2)
    assert bench.store.get("rps").forecast.labels == ({"app": "a"}, {"app": "b"})
    bench.clock.advance(900)
    bench.pipeline.round()
    assert bench.store.get("rps").forecast.labels == ({"app": "a"},)
    assert bench.count("cloudpulse_forecaster_series_skipped", reason="source_gone") == 1


def daily_until(bench: Any, end: float) -> Series:
    times = np.arange(end - 86400, end + 1, 300.0)
    return Series({"__name__": "rps", "app": "b"}, times, times % 86400)


def constant(bench: Any, value: float) -> Callable[[], Series]:
    def make() -> Series:
        times = np.arange(bench.clock() - 86400, bench.clock() + 1, 300.0)
        return Series({"app": "a"}, times, np.full(len(times), value))

    return make


def test_a_constant_is_forecast_as_itself(bench: Any) -> None:
    bench.series[:] = [constant(bench, 7.0)]
    bench.rounds(2)
    np.testing.assert_allclose(bench.store.get("rps").forecast.values, 7.0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nothing_but_nan_and_infinity_is_no_series(bench: Any, value: float) -> None:
    bench.series[:] = [constant(bench, value)]
    with pytest.raises(AnswerUnusable, match="answers no series"):
        bench.pipeline.round()
    assert bench.store.get("rps") is None


def test_an_empty_answer_is_an_error_that_shows_the_query(bench: Any) -> None:
    bench.series.clear()
    with pytest.raises(AnswerUnusable, match=r"answers no series.*query: rps"):
        bench.pipeline.round()


def test_one_point_is_too_short_and_the_others_go_on(bench: Any) -> None:
    bench.series.append(lambda: Series({"app": "new"}, np.array([bench.clock() // 300 * 300]), np.array([1.0])))
    bench.pipeline.round()
    assert bench.store.get("rps").forecast.labels == ({"app": "a"},)
    assert bench.count("cloudpulse_forecaster_series_skipped", reason="too_short") == 1


def test_series_beyond_the_limit_are_left_out_and_counted(make_bench: Callable[..., Any]) -> None:
    bench = make_bench(max_series=10)
    base = bench.series[0]
    bench.series[:] = [lambda i=i: Series({"app": f"{i:03}"}, base().times, base().values) for i in range(100)]
    with captured_logs() as logs:
        bench.rounds(3)
    assert len(bench.store.get("rps").forecast.labels) == 10
    assert bench.count("cloudpulse_forecaster_series_skipped", reason="max_series") == 90
    warnings = [line["event"] for line in logs if line["level"] == "warning"]
    assert len(warnings) == 1
    assert "forecaster.max_series is 10" in warnings[0]


def test_mixed_label_sets_are_all_forecast(bench: Any) -> None:
    base = bench.series[0]
    for labels in ({}, {"app": "a", "zone": "1"}, {"zone": "1"}):
        bench.series.append(lambda labels=labels: Series(labels, base().times, base().values))
    bench.pipeline.round()
    assert len(bench.store.get("rps").forecast.labels) == 4


@pytest.mark.parametrize("label", ["forecast", "horizon", "level", "threshold", "model", "matchers"])
def test_a_clash_with_our_own_labels_is_named(bench: Any, label: str) -> None:
    base = bench.series[0]
    bench.series[:] = [lambda: Series({label: "x"}, base().times, base().values)]
    with pytest.raises(AnswerUnusable, match=f"the label {label}, which is CloudPulse's own"):
        bench.pipeline.round()


def test_series_that_differ_in_name_only_are_refused(bench: Any) -> None:
    base = bench.series[0]
    bench.series.append(lambda: Series({"__name__": "other", "app": "a"}, base().times, base().values))
    with pytest.raises(AnswerUnusable, match="differ in their metric name only"):
        bench.pipeline.round()


def test_a_raw_counter_is_forecast_with_one_warning_that_names_rate(bench: Any) -> None:
    base = bench.series[0]
    bench.series[:] = [lambda: Series({"__name__": "hits_total"}, base().times, base().times - 1.6e9)]
    with captured_logs() as logs:
        bench.rounds(3)
    warnings = [line["event"] for line in logs if line["level"] == "warning"]
    assert warnings == ["hits_total is a counter fed raw, which only ever rises: use rate(hits_total[5m])"]
    assert bench.store.get("rps") is not None


def test_a_counter_that_no_name_gives_away_is_warned_of_once_by_its_shape(bench: Any) -> None:
    base = bench.series[0]
    bench.series[:] = [lambda: Series({"app": "a"}, base().times, np.floor(base().times - 1.6e9) * 3)]
    with captured_logs() as logs:
        bench.rounds(3)
    warnings = [line["event"] for line in logs if line["level"] == "warning"]
    told = '1 series, such as {app="a"}, only rise but for resets, as raw counters do: ask for their rate(...[5m])'
    assert warnings == [f"{told} (query: rps)"]


def test_bounds_hold(make_bench: Callable[..., Any]) -> None:
    free = make_bench()
    free.rounds(2)
    values = free.store.get("rps").forecast.values
    low, high = np.quantile(values, [0.3, 0.6])
    bench = make_bench(bounds=Bounds(min=low, max=high))
    bench.rounds(2)
    np.testing.assert_allclose(bench.store.get("rps").forecast.values, np.clip(values, low, high))


def test_a_full_disk_is_counted_and_forecasts_go_on(bench: Any) -> None:
    bench.rounds(2)
    for folder in ("history", "accuracy", "models"):
        path = bench.folder / folder
        path.rename(bench.folder / f"{folder}-away")
        path.write_text("in the way: no folder can be made here")
    bench.clock.advance(bench.target.train_every)
    bench.rounds(2)
    assert bench.store.get("rps").version == 2, "the new models are used from memory"
    assert bench.count("cloudpulse_forecaster_errors_total", reason="store") >= 2


def test_an_outage_leaves_a_gap_and_is_read_again_when_it_is_over(bench: Any) -> None:
    bench.rounds(2)
    bench.clock.advance(6 * 3600)
    bench.pipeline.round()
    frame = bench.pipeline._history.frame
    assert not np.isnan(frame.values[:, -72:]).any()


def test_reasons_are_the_errors_names() -> None:
    assert reason(SourceUnavailable("x")) == "source_unavailable"


def test_after_a_change_of_metric_name_only_the_series_of_now_is_trained(
    make_bench: Callable[..., Any], held_executor: Any
) -> None:
    """A query by a regular expression answers both, and without the metric name their labels are the same."""
    bench = make_bench(executor=held_executor)
    gone_at = bench.clock() - 3600
    new = {"__name__": "new", "app": "b"}
    bench.series[:] = [lambda: daily_until(bench, gone_at), lambda: daily(bench.clock, new, level=1e6)]
    bench.pipeline.round()
    (_, _, (history, *_)) = held_executor.work[0]
    assert history.labels == ({"app": "b"},)
    assert np.nanmin(history.values) > 9e5


def test_series_are_counted_by_the_first_reason_to_leave_them_out(make_bench: Callable[..., Any]) -> None:
    bench = make_bench(max_series=2)
    gone_at, newest = bench.clock() - 3600, bench.clock() // 300 * 300
    bench.series[:] = [
        lambda: daily_until(bench, gone_at),
        *(lambda i=i: daily(bench.clock, {"app": str(i)}, level=100.0 + i) for i in range(2)),
        lambda: Series({"app": "gone and short"}, np.array([newest - 3600]), np.array([1.0])),
        lambda: Series({"app": "short"}, np.array([newest]), np.array([1.0])),
        *(lambda i=i: daily(bench.clock, {"app": str(i)}) for i in range(2, 5)),
    ]
    bench.pipeline.round()
    issue = bench.store.get("rps")
    assert issue.forecast.labels == ({"app": "0"}, {"app": "1"})
    np.testing.assert_allclose(issue.observed[1] - issue.observed[0], 1.0)
    counts = {why: bench.count("cloudpulse_forecaster_series_skipped", reason=why) for why in REASONS}
    assert counts == {"source_gone": 2, "too_short": 1, "max_series": 3}


def test_a_pipeline_closed_in_its_query_publishes_nothing_and_hands_out_no_training(
    make_bench: Callable[..., Any], held_executor: Any
) -> None:
    bench = make_bench(executor=held_executor)
    answer = bench.source.samples

    def closing(query: str) -> list[Series]:
        bench.pipeline.close()
        return list(answer(query))

    bench.source.samples = closing
    with pytest.raises(SourceUnavailable):
        bench.pipeline.round()
    assert len(bench.source.asked) == 1, "a long first read ends with the query under way"
    assert bench.store.get("rps") is None
    assert not held_executor.work


def test_a_pipeline_closed_while_it_predicts_publishes_nothing_and_hands_out_no_training(
    make_bench: Callable[..., Any], held_executor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(executor=held_executor)
    speak = bench.pipeline._speak

    def closing(*given: Any) -> Any:
        bench.pipeline.close()
        return speak(*given)

    monkeypatch.setattr(bench.pipeline, "_speak", closing)
    bench.pipeline.round()
    assert bench.store.get("rps") is None
    assert not held_executor.work
    bench.pipeline.train()
    assert not held_executor.work


def test_a_closed_pipeline_passes_no_successors_forecast_off_as_newer(bench: Any) -> None:
    bench.pipeline.round()
    before = bench.store.get("rps").issued_at
    bench.clock.advance(60)
    bench.pipeline.close()
    bench.pipeline.round()
    assert bench.store.get("rps").issued_at == before


def test_a_target_without_a_series_left_is_absent_at_once(bench: Any) -> None:
    gone_at = bench.clock()
    bench.series[:] = [lambda: daily_until(bench, gone_at)]
    bench.rounds(3)
    assert bench.store.get("rps") is not None
    bench.clock.advance(60)
    bench.pipeline.round()
    assert bench.store.get("rps") is None
    bench.series[:] = [lambda: daily(bench.clock, {"app": "b"})]
    bench.clock.advance(300)
    bench.pipeline.round()
    assert np.isnan(bench.store.get("rps").expected_now).all(), "what was forecast before the gap is forgotten"


def test_a_series_that_is_gone_between_grid_points_is_absent_at_once(bench: Any) -> None:
    gone_at = bench.clock()
    bench.series.append(lambda: daily_until(bench, gone_at))
    bench.rounds(3)
    assert len(bench.store.get("rps").forecast.labels) == 2
    bench.clock.advance(60)
    bench.pipeline.round()
    assert bench.store.get("rps").forecast.labels == ({"app": "a"},)


@pytest.mark.parametrize("error", [KeyError("facts"), IndexError(), TypeError(), PermissionError(13, "no")])
@pytest.mark.parametrize("part", ["columns.Columns.load", "truth.Truth.restore", "lineup.Lineup.load"])
def test_what_can_not_be_taken_up_starts_anew_and_is_counted(
    bench: Any, monkeypatch: pytest.MonkeyPatch, part: str, error: Exception
) -> None:
    bench.rounds(2)
    bench.pipeline.save()
    bench.store.drop("rps")

    def fail(*_: Any) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(f"forecaster.{part}", fail)
        bench.anew()
    bench.pipeline.round()
    assert bench.store.get("rps") is not None
    assert bench.count("cloudpulse_forecaster_errors_total", reason="store") == 1


def test_a_clock_that_is_set_back_brings_forecasts_for_the_time_that_it_shows(bench: Any) -> None:
    bench.rounds(2)
    bench.clock.advance(-7200)
    bench.pipeline.round()
    issue = bench.store.get("rps")
    assert issue.forecast.start == bench.clock() // 300 * 300 + 300
    bench.clock.advance(300)
    bench.pipeline.round()
    assert bench.store.get("rps").forecast.start == bench.clock() // 300 * 300 + 300
    np.testing.assert_array_equal(bench.store.get("rps").observed, bench.pipeline._history.frame.values[:, -1])
    assert not np.isnan(bench.store.get("rps").observed).any()


def test_a_clock_that_is_set_back_a_little_reads_nothing_anew(bench: Any) -> None:
    bench.rounds(2)
    asked = len(bench.source.asked)
    bench.clock.advance(-200)
    bench.pipeline.round()
    assert len(bench.source.asked) == asked


class Broken:
    """A trained model that is off by what `says` gives, from `since` on."""

    def __init__(self, bench: Any, since: float, says: Callable[[], float]) -> None:
        self._good = build(("profile",)).fit(bench.pipeline._history.frame, bench.target.steps)
        self._bench, self._since, self._says = bench, since, says

    def predict(self, recent: Frame, horizon: int, levels: tuple[float, ...]) -> Forecast:
        good = self._good.predict(recent, horizon, levels)
        return replace(good, values=good.values + (self._says() if self._bench.clock() >= self._since else 0.0))

    def weights(self, recent: Frame) -> Mapping[str, NDArray[np.float64]]:
        return {"lstm": np.ones(len(recent.labels))}

    def state(self) -> State:
        return self._good.state()


def put_in_use(bench: Any, model: Predictor) -> None:
    """Instead of what was trained; nothing is trained again."""
    lineup = bench.pipeline._lineup
    parts = tuple(replace(part, predictor=model) for part in lineup._in_use.parts)
    lineup._in_use = replace(lineup._in_use, parts=parts)
    bench.pipeline._upkeep.hand_out = lambda: None


def broken(bench: Any, says: Callable[[], float]) -> Predictor:
    """Put a model in use that breaks at the next round."""
    bench.rounds(2)
    bench.clock.advance(300)
    model = Broken(bench, bench.clock(), says)
    put_in_use(bench, model)
    return model


def test_a_model_that_breaks_is_replaced_by_seasonal_naive_within_the_hour_and_comes_back(bench: Any) -> None:
    offset = [1000.0]
    broken(bench, lambda: offset[0])
    bench.rounds(1)
    assert bench.store.get("rps").forecast.values.min() > 900
    with captured_logs() as logs:
        bench.clock.advance(300)
        bench.rounds(12)
    issue = bench.store.get("rps")
    assert issue.forecast.values.max() < 300
    assert issue.weights["seasonal_naive"] == [1]
    assert issue.weights["lstm"] == [0]
    assert not np.isnan(issue.demoted.since["lstm"]).any()
    lines = [line for line in logs if "demoted" in line["event"]]
    assert lines[0]["model"] == "lstm"
    assert lines[0]["series"] == 1
    assert 'app="a"' in lines[0]["examples"][0]
    offset[0] = 0.0
    bench.clock.advance(300)
    with captured_logs() as logs:
        bench.rounds(24 * 12)
    issue = bench.store.get("rps")
    assert issue.weights["lstm"] == [1]
    assert any("good again" in line["event"] for line in logs)


def test_a_demotion_survives_a_restart(bench: Any) -> None:
    model = broken(bench, lambda: 1000.0)
    bench.rounds(13)
    since = bench.store.get("rps").demoted.since["lstm"]
    bench.pipeline.save()
    bench.anew()
    put_in_use(bench, model)
    bench.clock.advance(300)
    bench.pipeline.round()
    issue = bench.store.get("rps")
    np.testing.assert_array_equal(issue.demoted.since["lstm"], since)
    assert issue.forecast.values.max() < 300


@pytest.mark.parametrize("nonsense", [np.nan, np.inf])
def test_what_is_no_number_is_never_shown(bench: Any, nonsense: float) -> None:
    broken(bench, lambda: nonsense)
    bench.rounds(1)
    issue = bench.store.get("rps")
    assert np.isfinite(issue.forecast.values).all()
    assert issue.weights["seasonal_naive"] == [1]


def test_models_that_raise_are_counted_and_seasonal_naive_forecasts_that_round(bench: Any) -> None:
    fails = [True]

    def say() -> float:
        if fails[0]:
            raise FloatingPointError("no")
        return 0.0

    broken(bench, say)
    with captured_logs() as logs:
        bench.rounds(3)
    assert bench.store.get("rps").weights.keys() == {"seasonal_naive"}
    assert bench.store.get("rps").issued_at == bench.clock()
    assert bench.count("cloudpulse_forecaster_errors_total", reason="predict") == 3
    assert len([line for line in logs if line["level"] == "error"]) == 1, "once, not every round"
    fails[0] = False
    bench.clock.advance(300)
    bench.pipeline.round()
    assert bench.store.get("rps").weights["lstm"] == [1]


def test_quantiles_that_were_too_narrow_are_widened_by_what_came(make_bench: Callable[..., Any]) -> None:
    bench = make_bench(levels=(0.1, 0.9), horizons=(Duration(300),))
    rng = np.random.default_rng(1)
    noise = rng.normal(size=100_000)

    def noisy() -> Series:
        one = daily(bench.clock, {"app": "a"})
        return Series(one.labels, one.times, 100 + 10 * noise[(one.times // 300).astype(int) % len(noise)])

    bench.series[:] = [noisy]
    bench.rounds(2)

    class Narrow(Broken):
        def predict(self, recent: Frame, horizon: int, levels: tuple[float, ...]) -> Forecast:
            good = self._good.predict(recent, horizon, levels)
            return replace(good, values=100 + 5 * normal_scores(levels) + 0 * good.values)

    put_in_use(bench, Narrow(bench, 0.0, lambda: 0.0))
    bench.rounds(500)
    low, _, high = bench.store.get("rps").forecast.values[0, 0]
    assert 20 < high - low < 32, "25.6 is right, 12.8 is what the model says"
    np.testing.assert_allclose(bench.store.get("rps").scores.coverage[0, 0, [0, 2]], [0.1, 0.9], atol=0.06)


def test_the_chance_of_crossing_is_shown_and_only_configured_levels_are(make_bench: Callable[..., Any]) -> None:
    bench = make_bench(levels=(0.5,), thresholds=(90.0, 145.0, Threshold(value=45.0, direction="down")))
    bench.rounds(2)
    issue = bench.store.get("rps")
    assert issue.forecast.levels == (0.5,)
    assert issue.chances.keys() == {"90", "145", "45"}
    assert ((issue.chances["145"] >= 0) & (issue.chances["145"] < 0.5)).all()
    assert issue.chances["90"].shape == (1, 2)


def test_what_is_shown_stays_within_bounds_and_above_0_where_the_series_always_was(bench: Any) -> None:
    labels = ({"app": "a"}, {"app": "b"})
    frame = Frame(0.0, 300.0, labels, np.array([[0.0, np.nan, 3.0], [-0.5, 1.0, 2.0]]))
    moved = Forecast(900.0, 300.0, (0.1, 0.9), labels, np.array([[[-4.0, 9.0]], [[-4.0, 9.0]]]))
    np.testing.assert_array_equal(_kept(moved, frame, bench.target).values[:, 0], [[0, 9], [-4, 9]])
    bounds = Target(name="x", query="x", bounds=Bounds(min=-1, max=5))
    np.testing.assert_array_equal(_kept(moved, frame, bounds).values[:, 0], [[0, 5], [-1, 5]])
