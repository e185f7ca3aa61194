"""The anomaly score: 0 at the median, 1 at a far tail, absent where nothing was expected; and its episodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cloudpulse.durations import Duration
from cloudpulse.promql import Series
from forecaster.accuracy import Scores
from forecaster.anomaly import anomaly_score
from forecaster.background import Background
from forecaster.config import Target
from forecaster.episodes import Episodes
from forecaster.forecast import Forecast
from forecaster.store import Issue
from tests.forecaster.conftest import Bench

T_995 = 5.8409
T_90 = 1.6377
"""Student's t with 3 degrees of freedom, from a table."""
EDGE = T_995 / T_90


def issue(
    expected: Sequence[Sequence[float]],
    observed: Sequence[float],
    levels: tuple[float, ...] = (0.1, 0.5, 0.9),
    span: float | None = None,
    names: Sequence[str] | None = None,
    step: int = 0,
) -> Issue:
    """Series of which so much was expected, by level, and observed."""
    target = Target(name="web", query="q", horizons=(Duration(60),), levels=levels)
    count = len(observed)
    labels = tuple({"app": name} for name in names or map(str, range(count)))
    shape = (count, 1)
    known: Any = None
    if span is not None:
        known = Background((), np.zeros((count, 1), np.float32), np.full(count, span), 1, None, None)  # type: ignore[arg-type]
    return Issue(
        target=target,
        forecast=Forecast(60.0 * step, 60.0, levels, labels, np.zeros((count, 1, len(levels)))),
        issued_at=60.0 * step,
        expected_now=np.array(expected, float),
        observed=np.array(observed, float),
        scores=Scores(np.zeros(shape), np.zeros(shape), np.zeros((*shape, len(levels))), np.zeros(shape)),
        weights={},
        version=0,
        trained_at=np.nan,
        background=known,
    )


def score(expected: Sequence[float], observed: float, **more: Any) -> float:
    return float(anomaly_score(issue([expected], [observed], **more))[0])


@pytest.mark.parametrize(
    ("observed", "expected"),
    [(100.0, 0.0), (100 + 20 * EDGE, 1.0), (100 - 10 * EDGE, 1.0), (100 + 40 * EDGE, 2.0), (90.0, 1 / EDGE)],
)
def test_each_side_has_its_own_edge_and_the_score_is_linear(observed: float, expected: float) -> None:
    assert score([90, 100, 120], observed) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("levels", [(0.02, 0.5, 0.98), (0.1, 0.5, 0.9), (0.25, 0.5, 0.75)])
def test_the_edge_is_the_same_tail_whatever_the_outermost_levels(levels: tuple[float, ...]) -> None:
    """Of values that are spread as Student's t, each configuration calls the same ones odd."""
    quantiles = {0.02: -3.4819, 0.1: -1.6377, 0.25: -0.7649, 0.5: 0.0, 0.75: 0.7649, 0.9: 1.6377, 0.98: 3.4819}
    expected = [100 + 10 * quantiles[level] for level in levels]
    assert score(expected, 100 + 10 * T_995, levels=levels) == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("levels", [(0.5, 0.9), (0.1, 0.5)])
def test_a_side_without_a_level_is_as_wide_as_the_other(levels: tuple[float, ...]) -> None:
    expected = [100.0, 110.0] if levels[0] == 0.5 else [90.0, 100.0]
    for observed in (100 - 10 * EDGE, 100 + 10 * EDGE):
        assert score(expected, observed, levels=levels) == pytest.approx(1, rel=1e-3)


def test_without_any_level_but_the_median_there_is_no_score() -> None:
    assert np.isnan(score([100], 200, levels=(0.5,)))


def test_what_was_not_expected_or_not_observed_has_no_score() -> None:
    nan = float("nan")
    assert np.isnan(score([nan, nan, nan], 5))
    assert np.isnan(score([1, 2, 3], nan))


def test_a_constant_series_is_not_odd_for_a_hair_but_for_a_step() -> None:
    assert score([50, 50, 50], 50, span=0.0) == 0
    assert score([50, 50, 50], 50.0001, span=0.0) < 0.01
    assert score([50, 50, 50], 60, span=0.0) > 1


def test_a_series_that_was_always_zero_has_a_finite_score_when_it_moves() -> None:
    assert score([0, 0, 0], 0, span=0.0) == 0
    assert score([0, 0, 0], 1e-9, span=0.0) == 1000


def test_a_narrow_band_does_not_make_a_small_share_of_the_usual_range_odd() -> None:
    assert score([49.99, 50, 50.01], 51, span=40.0) == pytest.approx(0.5)
    assert score([49.99, 50, 50.01], 55, span=40.0) > 1


def test_a_series_whose_models_know_no_spread_is_measured_by_its_own_range() -> None:
    assert score([50, 50, 50], 60, span=40.0) == pytest.approx(0.25)


def test_a_drop_to_zero_is_seen_and_exported(bench: Bench) -> None:
    fell = []
    usual = bench.series[0]

    def dropping() -> Series:
        series = usual()
        return replace(series, values=np.where(series.times >= fell[0], 0.0, series.values)) if fell else series

    bench.series[:] = [dropping]
    bench.rounds(12)
    before = bench.store.get("rps")
    assert before is not None
    assert anomaly_score(before)[0] < 1
    fell.append(bench.clock() + 1)
    bench.clock.advance(300)
    bench.pipeline.round()
    after = bench.store.get("rps")
    assert after is not None
    assert after.observed[0] == 0
    assert anomaly_score(after)[0] > 3


def test_the_score_of_a_column_is_from_what_was_said_before_it_was_known(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    bench.rounds(1)
    first = bench.store.get("rps")
    assert first is not None
    assert np.isnan(anomaly_score(first)).all(), "nothing had been said yet"
    bench.clock.advance(300)
    bench.pipeline.round()
    second = bench.store.get("rps")
    assert second is not None
    assert np.array_equal(second.expected_now, first.forecast.values[:, 0])
    assert np.isfinite(anomaly_score(second)).all()


def test_models_that_were_trained_meanwhile_do_not_soften_the_score_of_a_value_they_know(
    make_bench: Callable[..., Bench],
) -> None:
    bench = make_bench(train_every=Duration(600))
    bench.rounds(3)
    before = bench.store.get("rps")
    assert bench.pipeline.train(), "other models wait"
    bench.pipeline.round()
    after = bench.store.get("rps")
    assert before is not None
    assert after is not None
    assert (after.version, after.forecast.start) == (before.version + 1, before.forecast.start)
    assert np.isfinite(before.expected_now).all()
    assert np.array_equal(after.expected_now, before.expected_now)
    assert np.array_equal(anomaly_score(after), anomaly_score(before))


BAND = [90.0, 100.0, 110.0]


def told(episodes: Episodes, one: Issue) -> list[tuple[str, str]]:
    return [(turn.labels["app"], turn.state) for turn in episodes.turns(one)]


def test_an_episode_is_told_once_when_it_begins_and_once_when_it_is_over() -> None:
    episodes = Episodes()
    assert told(episodes, issue([BAND] * 2, [100, 100])) == []
    assert told(episodes, issue([BAND] * 2, [100, 200])) == [("1", "begins")]
    assert told(episodes, issue([BAND] * 2, [100, 300])) == []
    at_the_edge = 100 + 10 * EDGE * 0.9
    assert told(episodes, issue([BAND] * 2, [100, at_the_edge])) == [], "it would flap"
    assert told(episodes, issue([BAND] * 2, [100, 100])) == [("1", "ends")]
    assert told(episodes, issue([BAND] * 2, [100, 100])) == []


def test_nothing_follows_from_a_score_that_is_not_known() -> None:
    episodes = Episodes()
    told(episodes, issue([BAND], [200]))
    assert told(episodes, issue([BAND], [float("nan")])) == []
    assert told(episodes, issue([BAND], [100])) == [("0", "ends")]


def test_the_episode_of_a_series_that_is_gone_ends_with_nothing_known() -> None:
    episodes = Episodes()
    told(episodes, issue([BAND] * 2, [200, 100], names=("a", "b")))
    (turn,) = episodes.turns(issue([BAND], [100], names=("b",), step=5))
    assert (turn.labels, turn.state, turn.at) == ({"app": "a"}, "ends", 240.0)
    assert np.isnan([turn.score, turn.observed, *turn.expected.values()]).all()


def test_the_episodes_of_a_forecast_that_is_dropped_end() -> None:
    episodes = Episodes()
    told(episodes, issue([BAND], [200]))
    assert [(turn.state, turn.at) for turn in episodes.dropped("web", 7.0)] == [("ends", 7.0)]
    assert episodes.dropped("web", 8.0) == []


def test_of_too_many_the_oddest_begin_and_the_others_when_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forecaster.episodes.MOST", 2)
    episodes = Episodes()
    assert told(episodes, issue([BAND] * 3, [200, 400, 300])) == [("1", "begins"), ("2", "begins")]
    assert told(episodes, issue([BAND] * 3, [200, 400, 300])) == []
    assert told(episodes, issue([BAND] * 3, [200, 100, 300])) == [("1", "ends")]
    assert told(episodes, issue([BAND] * 3, [200, 100, 300])) == [("0", "begins")]
