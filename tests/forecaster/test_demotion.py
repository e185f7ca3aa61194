"""A model that goes bad is out within the hour, one that is good again comes back, and a good one stays."""

from __future__ import annotations

import numpy as np
import pytest

from forecaster.accuracy import Due
from forecaster.demotion import Change, Demotion

LEADS = [900.0, 3600.0, 86400.0]
ROWS = np.array([0, 1])


class Rounds:
    """Scores of model `m` beside seasonal naive, whose errors are those of noise, for two series."""

    def __init__(self, step: float, name: str = "m") -> None:
        self.step = step
        self.demotion = Demotion(LEADS, [max(step, lead / 96) for lead in LEADS])
        self.demotion.resize(2)
        self.demotion.columns({name: None})
        self.rng = np.random.default_rng(1)
        self.now = 0.0
        self.changes: list[Change] = []

    def minutes(self, count: float, ratio: float, *, leads: tuple[int, ...] = (0, 1)) -> None:
        """`count` minutes in which the model's error is `ratio` of seasonal naive's, in the mean."""
        for _ in range(round(count * 60 / self.step)):
            self.now += self.step
            for h in leads:
                model, naive = self.rng.normal(size=(2, 2)).astype(np.float32)
                zero = np.zeros((2, 1), np.float32)
                self.demotion.add(Due(h, ROWS, zero, zero, ratio * model[:, None], 0 * model, naive))
            self.changes += self.demotion.judge(self.now)

    def out(self, lead: int = 0) -> bool:
        found = self.demotion.demoted(ROWS).since.get("m")
        return found is not None and not np.isnan(found[:, lead]).any()


@pytest.mark.parametrize("step", [60.0, 300.0])
@pytest.mark.parametrize("ratio", [4.0, 1e6])
def test_a_model_that_goes_bad_is_out_within_the_hour_at_every_lead(step: float, ratio: float) -> None:
    """The first bad prediction is scored 15 minutes after it was made, so 45 minutes of scores are left."""
    rounds = Rounds(step)
    rounds.minutes(600, 0.6)
    assert not rounds.out()
    rounds.minutes(45, ratio, leads=(0,))
    assert [rounds.out(h) for h in range(3)] == [True] * 3


def test_a_model_that_is_a_little_worse_is_out_within_hours_where_it_is_worse() -> None:
    rounds = Rounds(60.0)
    rounds.minutes(60, 0.9)
    rounds.minutes(12 * 60, 1.4)
    assert [rounds.out(h) for h in range(3)] == [True, True, False]
    assert all(1.1 < change.ratio < 2.5 for change in rounds.changes)


@pytest.mark.parametrize("step", [60.0, 300.0])
@pytest.mark.parametrize(("bad_minutes", "back_minutes"), [(60, 8 * 60), (3 * 1440, 20 * 60)])
def test_it_comes_back_when_it_is_good_again(step: float, bad_minutes: int, back_minutes: int) -> None:
    rounds = Rounds(step)
    rounds.minutes(300, 0.6)
    rounds.minutes(bad_minutes, 1e9)
    assert rounds.out()
    rounds.minutes(back_minutes, 0.6)
    assert not rounds.out()
    assert rounds.changes[-1].back
    assert rounds.changes[-1].ratio < 0.95


def test_a_good_model_stays() -> None:
    rounds = Rounds(300.0)
    rounds.minutes(7 * 1440, 0.6)
    days = 7 * 2 * 2  # of two series at two leads
    assert len([change for change in rounds.changes if not change.back]) / days < 0.1


def test_between_good_and_bad_nothing_changes() -> None:
    rounds = Rounds(60.0)
    rounds.minutes(600, 4.0)
    assert rounds.out()
    before = len(rounds.changes)
    rounds.minutes(1440, 1.02)
    assert len(rounds.changes) == before, "as good as seasonal naive is not good enough to come back"


def test_seasonal_naive_itself_is_never_out() -> None:
    rounds = Rounds(60.0, "seasonal_naive")
    rounds.minutes(600, 100.0)
    assert rounds.changes == []


def test_when_and_why_are_told() -> None:
    rounds = Rounds(60.0)
    rounds.minutes(120, 0.5)
    began = rounds.now
    rounds.minutes(60, 10.0)
    demoted = rounds.demotion.demoted(ROWS)
    assert (began < demoted.since["m"]).all()
    assert (demoted.since["m"] < began + 3600).all()
    assert (demoted.ratio["m"] > 2.5).all()
    assert rounds.changes[0].model == "m"
    assert not rounds.changes[0].back


def test_a_silent_model_is_not_judged() -> None:
    rounds = Rounds(60.0)
    rounds.minutes(200, np.nan)
    assert rounds.changes == []


def test_what_only_rounding_tells_apart_is_no_error() -> None:
    demotion = Demotion([900.0], [60.0])
    demotion.resize(1)
    demotion.columns({"m": None})
    actual = np.array([16_777_217.3], np.float32)
    off = np.nextafter(actual, np.float32(np.inf), dtype=np.float32)
    for now in range(100):
        demotion.add(Due(0, ROWS[:1], off[:, None], off[:, None], off[:, None], actual, actual))
        assert demotion.judge(now) == []


def test_what_only_rounding_tells_apart_is_no_error_while_the_series_rests_either() -> None:
    """A wave that is the same every day: seasonal naive is never wrong, a model's arithmetic is float32."""
    demotion = Demotion([900.0], [300.0])
    demotion.resize(1)
    demotion.columns({"m": None})
    zero = np.zeros((1, 1), np.float32)
    for now in range(2 * 288):
        moved = np.array([50.0 if now % 288 < 20 else 0.0], np.float32)
        said = moved[:, None] + np.float32(1e-5)
        demotion.add(Due(0, ROWS[:1], zero, zero, said, moved, moved))
        assert demotion.judge(now) == []


def test_where_seasonal_naive_had_nothing_to_go_by_no_model_is_judged() -> None:
    demotion = Demotion([900.0], [300.0])
    demotion.resize(1)
    demotion.columns({"m": None})
    one = np.ones((1, 1), np.float32)
    for now in range(100):
        demotion.add(Due(0, ROWS[:1], one, one, 9 * one, one[0], one[0] * np.nan))
        assert demotion.judge(now) == []


def test_columns_and_rows_grow_without_a_trace_on_what_is_known() -> None:
    rounds = Rounds(60.0)
    rounds.minutes(120, 10.0)
    before = rounds.demotion.demoted(ROWS).since["m"]
    assert rounds.demotion.columns({"new": None, "m": None}) == [1, 0]
    rounds.demotion.resize(5)
    rounds.demotion.keep(np.array([4, 1, 0]))
    after = rounds.demotion.demoted(np.array([2, 1, 0]))
    np.testing.assert_array_equal(after.since["m"][:2], before)
    assert np.isnan(after.since["m"][2]).all()
    assert "new" not in after.since
