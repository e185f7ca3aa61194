"""The figures of a backtest, on series so small that each can be checked by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from cloudpulse.durations import Duration
from forecaster import evaluation
from forecaster.backtest import Window
from forecaster.config import Bounds
from forecaster.evaluation import Study, evaluate, origins, summary
from forecaster.forecast import Forecast
from forecaster.frame import Frame
from forecaster.model import Predictor, State
from forecaster.models.profile import Profile
from forecaster.models.seasonal_naive import SeasonalNaive
from forecaster.verdicts import judge

HOUR = 3600.0
LEVELS = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Last:
    """A model whose answers are plain: the last value and what is added to it at each level."""

    added: tuple[float, float, float]

    def fit(self, history: Frame, horizon: int) -> Predictor:
        return self

    def predict(self, recent: Frame, horizon: int, levels: tuple[float, ...]) -> Forecast:
        last = recent.values[:, -1][:, None, None]
        values = np.broadcast_to(last + np.array(self.added), (len(recent.labels), horizon, 3))
        return Forecast(recent.end + recent.step, recent.step, levels, recent.labels, values)

    def weights(self, recent: Frame) -> Mapping[str, NDArray[np.float64]]:
        return {"last": np.ones(len(recent.labels))}

    def state(self) -> State:
        return State()

    def restore(self, state: State) -> Predictor:
        return self


def study(values: NDArray[np.float64], **changes: object) -> Study:
    """Hourly series, asked a day ahead, with a history of 9 days."""
    frame = Frame(0.0, HOUR, tuple({"app": str(i)} for i in range(len(values))), values)
    made = Study(frame, 9 * 24, (Duration.parse("24h"),), LEVELS, Last((2, 5, 20)).fit)
    return replace(made, **changes)  # type: ignore[arg-type]


STAIRS = np.repeat(10.0 * np.arange(12), 24)[None]
"""Each day is 10 above the day before: seasonal naive is 10 too low all day."""


def test_every_figure_is_what_the_hand_computes() -> None:
    (figures,) = evaluate(study(STAIRS), [9 * 24, 10 * 24]).figures
    assert figures.points.tolist() == [48]
    assert figures.mae[0] == 5  # 10 came, 5 was said
    assert figures.floor_mae[0] == 10
    assert figures.mase[0] == 0.5
    assert figures.bias[0] == -0.5
    assert figures.band[0] == 1  # 10 lies between 2 and 20
    assert figures.coverage[0].tolist() == [0, 0, 1]
    # Mine: 0.1 x 8, 0.5 x 5, 0.1 x 10. Seasonal naive says -10, 0, 10 for 10: 0.1 x 20, 0.5 x 10, 0.
    assert figures.wql[0] == pytest.approx(4.3 / 7, rel=1e-4)


def test_only_steps_up_to_the_horizon_count() -> None:
    ramp = np.arange(12 * 24.0)[None]
    tested = study(ramp, horizons=(Duration.parse("2h"), Duration.parse("4h")), train=Last((0, 0, 0)).fit)
    short, long = evaluate(tested, [9 * 24]).figures
    assert short.mae[0] == (1 + 2) / 2
    assert long.mae[0] == (1 + 2 + 3 + 4) / 4


def test_gaps_are_compared_by_nobody() -> None:
    values = STAIRS.copy()
    values[0, 9 * 24 + 1 : 10 * 24] = np.nan
    (figures,) = evaluate(study(values), [9 * 24]).figures
    assert figures.points.tolist() == [1]
    assert figures.mase[0] == 0.5


def test_a_summary_is_a_geometric_mean_and_leaves_out_what_both_foresee_perfectly() -> None:
    constant = np.full_like(STAIRS, 7.0)
    tested = study(np.concatenate([STAIRS, 4 * STAIRS, constant]), train=Last((0, 0, 0)).fit)
    (figures,) = evaluate(tested, [9 * 24]).figures
    mase = np.array([0.25, 4.0, np.nan])
    one = summary(replace(figures, mase=mase))
    assert np.isnan(figures.mase[2])
    assert (one.series, one.mase, one.worse) == (2, 1.0, 0.5)
    assert one.mae == (10 + 40) / 2
    assert one.band == 0  # of the constant every value would lie inside


def test_nothing_to_compare_is_unknown_and_not_zero() -> None:
    values = np.concatenate([STAIRS[:, : 9 * 24], np.full((1, 24), np.nan)], 1)
    one = summary(evaluate(study(values), [9 * 24]).figures[0])
    assert one.series == 0
    assert np.isnan([one.mae, one.mase, one.wql, one.band, one.bias, one.worse, *one.coverage]).all()


def test_a_forecast_is_clipped_to_its_bounds_as_the_service_does() -> None:
    window = evaluate(study(STAIRS, bounds=Bounds(max=84.0)), [9 * 24]).windows[0]
    assert window.forecast.values[0, 0].tolist() == [82, 84, 84]


def test_what_comes_after_an_origin_changes_nothing_that_is_forecast_from_it() -> None:
    rng = np.random.default_rng(1)
    values = 10 + np.sin(np.arange(12 * 24) * 2 * np.pi / 24) + rng.normal(0, 0.1, (2, 12 * 24))
    other = values.copy()
    other[:, 10 * 24 :] += 100
    first, second = (
        evaluate(study(one, train=Profile().fit), [9 * 24, 10 * 24]).windows[1].forecast.values
        for one in (values, other)
    )
    np.testing.assert_array_equal(first, second)


def test_a_training_sees_no_more_than_the_history() -> None:
    seen: list[int] = []

    class Watching(Last):
        def fit(self, history: Frame, horizon: int) -> Predictor:
            seen.append(history.length)
            return self

    evaluate(study(STAIRS, history=100, train=Watching((0, 0, 0)).fit), [90, 240])
    assert seen == [90, 100]


def test_the_floor_against_itself_is_one() -> None:
    (figures,) = evaluate(study(STAIRS, train=SeasonalNaive().fit), [9 * 24]).figures
    assert (figures.mase[0], figures.wql[0]) == (1, 1)


def test_origins_leave_room_for_the_horizon_and_differ_in_their_time_of_day() -> None:
    tested = study(np.zeros((1, 30 * 24)), history=14 * 24)
    places = origins(30 * 24, tested, 24, 5)
    assert len(places) == 5
    assert places[0] >= 22 * 24  # the last week before the last day
    assert places[-1] + 24 <= 30 * 24
    times = np.sort([place % 24 for place in places])
    assert np.diff(times).min() >= 3


@pytest.mark.parametrize(("days", "first"), [(2.5, 1), (4, 1.5), (17, 13)])
def test_a_short_history_is_tested_on_fewer_days(days: float, first: float) -> None:
    length = int(days * 24)
    places = origins(length, study(np.zeros((1, length)), history=14 * 24), 24, 4)
    assert places
    assert first * 24 <= places[0]
    assert places[-1] + 24 <= length


def test_less_than_a_day_and_the_horizon_can_not_be_tested() -> None:
    assert origins(47, study(np.zeros((1, 47))), 24, 5) == ()
    assert origins(48, study(np.zeros((1, 48))), 24, 5) == (24,)


def test_error_by_lead_is_in_units_of_each_series_own_scale() -> None:
    forecast = Forecast(0.0, HOUR, (0.5,), ({"a": "1"}, {"a": "2"}), np.zeros((2, 2, 1)))
    window = Window(0, forecast, np.array([[1.0, 3.0], [10.0, np.nan]]))
    curve = evaluation.by_lead([window], np.array([1.0, 10.0]))
    assert curve.tolist() == [1.0, 3.0]


def test_verdicts_name_the_best_the_worst_and_what_was_measured() -> None:
    """Whoever adds 5 to everything loses where nothing rises."""
    steady = STAIRS.copy()
    steady[0, 8 * 24 :] = 80
    shifted = np.where(np.arange(12 * 24) < 9 * 24, np.sin(np.arange(12 * 24) * 2 * np.pi / 24), 50.0)[None]
    constant = np.full_like(STAIRS, 7.0)
    result = evaluate(study(np.concatenate([STAIRS, steady, constant, shifted])), [9 * 24])
    verdicts = judge(result)
    assert [one.row for one in verdicts.wins] == [0, 3]
    assert [one.row for one in verdicts.losses] == [2, 1]
    assert verdicts.middle == 3
    assert verdicts.facts[2] == ("constant: nothing to forecast",)
    assert "the level shifted after 1 of 1 origins" in verdicts.facts[3][0]
