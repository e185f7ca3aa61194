"""What waits, what comes and goes, and what survives a restart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from cloudpulse.durations import Duration
from forecaster import storage
from forecaster.config import Target
from forecaster.forecast import Forecast
from forecaster.frame import Frame
from forecaster.model import label_key
from forecaster.rows import Rows
from forecaster.truth import SLOTS, Truth

STEP = 300.0
DAY = 288
RNG = np.random.default_rng(5)
PAST = 10 + RNG.normal(size=DAY)


def target(*horizons: str, every: str = "5m", query: str = "x", step: float = STEP) -> Target:
    return Target(
        name="x",
        query=query,
        step=Duration(step),
        every=Duration.parse(every),
        horizons=tuple(map(Duration.parse, horizons)),
        levels=(0.1, 0.5, 0.9),
    )


class Replay:
    """Rounds of a target whose series all are noise around 10 and whose models say `models` of it, plus `offset`."""

    def __init__(self, wanted: Target, truth: Truth | None = None, offset: float = 0.0) -> None:
        self.target, self.truth, self.now, self.offset = wanted, truth or Truth(wanted), DAY, offset
        self.values = offset + np.concatenate([PAST, 10 + np.random.default_rng(6).normal(size=2000)])

    def rounds(self, count: int, names: Sequence[str] = ("a",), **models: float) -> None:
        labels = tuple({"app": name} for name in names)
        keys = [label_key(one) for one in labels]
        for _ in range(count):
            self.now += 1
            past = np.tile(self.values[: self.now + 1], (len(names), 1))
            self.truth.observed(Frame(0.0, STEP, labels, past), keys, self.now * STEP)
            path = self.offset + np.tile([8.7, 10.0, 11.3], (len(names), self.target.steps, 1))
            said = Forecast((self.now + 1) * STEP, STEP, self.target.all_levels, labels, path)
            issued = Forecast(said.start, STEP, said.levels, labels, self.truth.calibrated(said, keys))
            parts = {
                name: np.full((len(names), self.target.steps), self.offset + value) for name, value in models.items()
            }
            self.truth.predicted(said, issued, parts, keys)


def keys(*names: str) -> list[str]:
    return [label_key({"app": name}) for name in names]


def test_everything_survives_a_restart_through_a_file(tmp_path: Path) -> None:
    wanted = target("15m", "1h")
    before = Replay(wanted)
    before.rounds(60, "ab", lstm=14.0, profile=10.0)
    storage.write(tmp_path / "x", before.truth.state())
    after = Replay(wanted)
    after.truth.restore(storage.read(tmp_path / "x"))
    after.now = before.now
    for one in (before, after):
        one.rounds(20, "ab", lstm=10.0, profile=10.0)
    np.testing.assert_array_equal(after.truth.scores(keys(*"ab")).coverage, before.truth.scores(keys(*"ab")).coverage)
    np.testing.assert_array_equal(after.truth.scores(keys(*"ab")).mase, before.truth.scores(keys(*"ab")).mase)
    assert not np.isnan(before.truth.scores(keys("a")).mase).any()
    left, right = before.truth.demoted(keys(*"ab")), after.truth.demoted(keys(*"ab"))
    assert list(left.since) == list(right.since) == ["lstm"]
    np.testing.assert_array_equal(left.since["lstm"], right.since["lstm"])


@pytest.mark.parametrize(
    "other",
    [
        target("15m"),
        target("15m", "2h"),
        target("1h", "15m"),
        target("15m", "1h", query="y"),
        target("15m", "1h", step=150.0, every="150s"),
    ],
)
def test_a_state_of_another_query_step_or_horizons_is_left(other: Target) -> None:
    replay = Replay(target("15m", "1h"))
    replay.rounds(40)
    again = Truth(other)
    again.restore(replay.truth.state())
    assert np.isnan(again.scores(keys("a")).mase).all()


def test_far_from_zero_everything_is_learned_as_near_it(tmp_path: Path) -> None:
    near, far = Replay(target("15m", "1h")), Replay(target("15m", "1h"), offset=1e12)
    for one in (near, far):
        one.rounds(60, "ab", lstm=14.0, profile=10.0)
        storage.write(tmp_path / "x", one.truth.state())
        one.truth = Truth(one.target)
        one.truth.restore(storage.read(tmp_path / "x"))
        one.rounds(60, "ab", lstm=14.0, profile=10.0)
    left, right = (one.truth.demoted(keys(*"ab")) for one in (near, far))
    assert list(left.since) == list(right.since) == ["lstm"]
    np.testing.assert_array_equal(left.since["lstm"], right.since["lstm"])
    scores = [one.truth.scores(keys(*"ab")) for one in (near, far)]
    np.testing.assert_allclose(scores[0].mase, scores[1].mase, rtol=1e-3)
    np.testing.assert_allclose(scores[0].coverage, scores[1].coverage, atol=0.02)


def test_on_a_first_day_there_are_figures_but_no_model_is_out_for_being_worse_than_the_last_value() -> None:
    replay = Replay(target("15m"))
    replay.values = np.concatenate([np.full(DAY, np.nan), 100 + 0.1 * np.arange(2000)])
    replay.now += 3
    replay.rounds(100, lstm=99.0)
    assert replay.truth.scores(keys("a")).mase[0, 0] > 1
    assert replay.truth.demoted(keys("a")).since == {}
    replay.rounds(DAY, lstm=99.0)
    replay.rounds(DAY, lstm=1e3)
    assert list(replay.truth.demoted(keys("a")).since) == ["lstm"]


def test_a_series_that_comes_later_is_scored_and_one_that_comes_back_has_kept_its_figures() -> None:
    replay = Replay(target("15m"))
    replay.rounds(40, "a")
    replay.rounds(3, "ba")
    assert np.isnan(replay.truth.scores(keys("b")).mase).all()
    replay.rounds(20, "b")
    figures = replay.truth.scores(keys("b", "a"))
    assert not np.isnan(figures.mase).any()
    replay.rounds(1, "ab")
    np.testing.assert_array_equal(replay.truth.scores(keys("a")).mase, figures.mase[1:])


def test_figures_follow_the_series_whatever_the_order() -> None:
    replay = Replay(target("15m"))
    replay.rounds(30, "abc")
    replay.rounds(10, "a")
    replay.rounds(1, "cba")
    scores = replay.truth.scores(keys("c", "a", "b"))
    assert scores.mase[0] == scores.mase[2] != scores.mase[1]


def test_memory_is_bounded_when_series_come_and_go() -> None:
    replay = Replay(target("15m", "24h"))
    for generation in range(60):
        replay.rounds(2, [f"pod-{generation}-{i}" for i in range(10)])
    state = replay.truth.state()
    assert len(state.facts["keys"]) <= 2 * 10 + 100 + 10
    assert f"{label_key({'app': 'pod-59-3'})}" in state.facts["keys"]
    assert max(len(array) for array in state.arrays.values()) <= 130


def test_at_most_so_many_predictions_wait_for_a_horizon() -> None:
    replay = Replay(target("15m", "24h"))
    replay.rounds(300)
    waiting = [len(times) for times in replay.truth.state().facts["times"]]
    assert waiting[0] == 3
    assert 0.9 * SLOTS <= waiting[1] <= SLOTS + 1


def test_long_horizons_alone_are_probed_at_15_minutes_without_showing_it() -> None:
    replay = Replay(target("24h"))
    replay.rounds(12, lstm=30.0)
    demoted = replay.truth.demoted(keys("a"))
    assert demoted.leads == (900.0, 86400.0)
    assert not np.isnan(demoted.since["lstm"]).any(), "a model that broke is out before the first day is over"
    assert replay.truth.scores(keys("a")).mase.shape == (1, 1)


def test_an_outage_costs_scores_and_nothing_else() -> None:
    replay = Replay(target("15m", "1h"))
    replay.rounds(40)
    replay.now += 500
    replay.rounds(40)
    assert not np.isnan(replay.truth.scores(keys("a")).mase).any()


def test_rows_stay_where_they_are_until_too_many_are_gone() -> None:
    rows = Rows()
    assert rows.enter(["a", "b"]).tolist() == [0, 1]
    assert rows.enter(["b", "c"]).tolist() == [1, 2]
    assert rows.of(["c", "x", "a"]).tolist() == [2, -1, 0]
    assert rows.crowded() is None
    rows.enter([f"{i}" for i in range(200)])
    rows.enter(["c"])
    kept = rows.crowded()
    assert kept is not None
    rows.keep(kept)
    assert rows.of(["c"]).tolist() == [0]
    assert len(rows) == 1
