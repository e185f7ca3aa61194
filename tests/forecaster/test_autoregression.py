"""The autoregression where it is for: what moves within minutes, and how sure one can be of it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from forecaster.frame import Frame
from forecaster.models.autoregression import Autoregression

MINUTE, DAY = 60.0, 1440
LEVELS = (0.1, 0.5, 0.9)
START = 1_633_478_400.0


def frame(*values: NDArray[np.float64], step: float = MINUTE) -> Frame:
    return Frame(START, step, tuple({"app": str(i)} for i in range(len(values))), np.stack(values))


def ramps(days: int, seed: int = 1) -> NDArray[np.float64]:
    """A load that climbs for ten minutes at moments nobody can foresee, stays, and falls again."""
    rng = np.random.default_rng(seed)
    target = np.repeat(rng.choice([100.0, 400.0], days * 24), 60)
    kernel = np.ones(10) / 10
    return np.convolve(target, kernel)[: len(target)] + rng.normal(0, 3, len(target))


def test_a_ramp_under_way_is_followed_where_the_last_value_lags() -> None:
    load = ramps(6)
    predictor = Autoregression().fit(frame(load[: 5 * DAY]), 5)
    mine, last = [], []
    moving = np.abs(load[3:] - load[:-3]) > 45  # over three minutes; the noise alone makes 4
    for end in np.flatnonzero(moving[5 * DAY : 6 * DAY - 10])[::3] + 5 * DAY + 4:
        said = predictor.predict(frame(load[:end]), 5, LEVELS).values[0, 2, 1]
        mine.append(abs(said - load[end + 2]))
        last.append(abs(load[end - 1] - load[end + 2]))
    assert np.mean(mine) < 0.6 * np.mean(last)


def test_an_autoregressive_process_is_forecast_about_as_well_as_can_be() -> None:
    """y = 0.9 y-1 + e: three steps ahead the best there is has the spread sqrt(1 + 0.81 + 0.6561)."""
    rng = np.random.default_rng(2)
    noise = rng.normal(0, 1, 8 * DAY)
    values = np.zeros(8 * DAY)
    for t in range(1, len(values)):
        values[t] = 0.9 * values[t - 1] + noise[t]
    values += 50
    predictor = Autoregression().fit(frame(values[: 7 * DAY]), 10)
    ends = range(7 * DAY, 8 * DAY - 10, 3)
    said = np.stack([predictor.predict(frame(values[:end]), 10, LEVELS).values[0, 2] for end in ends])
    came = values[np.array(ends) + 2]
    best = np.sqrt(2 / np.pi) * np.sqrt(1 + 0.81 + 0.6561)
    assert np.abs(came - said[:, 1]).mean() < 1.05 * best
    assert (came <= said[:, 2]).mean() == pytest.approx(0.9, abs=0.04)
    assert (came <= said[:, 0]).mean() == pytest.approx(0.1, abs=0.04)


def test_the_band_is_wide_in_wild_hours_and_narrow_in_calm_ones() -> None:
    rng = np.random.default_rng(3)
    wild = np.tile(np.repeat([1.0, 20.0], 360), 4 * 2)
    values = 200 + rng.normal(0, 1, len(wild)) * wild
    history = frame(values)
    predictor = Autoregression().fit(history, 5)
    widths = []
    for end in (3 * DAY + 300, 3 * DAY + 660):
        said = predictor.predict(history.between(0, end), 5, LEVELS).values[0]
        widths.append((said[:, 2] - said[:, 0]).mean())
    assert widths[1] > 5 * widths[0]


def test_the_change_that_a_time_of_day_brings_is_foreseen() -> None:
    """Every day at noon the load doubles; a minute before nothing shows it but the clock."""
    rng = np.random.default_rng(4)
    day = np.where(np.arange(DAY) >= DAY // 2, 200.0, 100.0)
    values = np.tile(day, 8) + rng.normal(0, 1, 8 * DAY)
    predictor = Autoregression().fit(frame(values[: 7 * DAY]), 10)
    noon = 7 * DAY + DAY // 2
    said = predictor.predict(frame(values[: noon - 1]), 10, LEVELS).values[0, 8, 1]
    assert said > 170


def test_beyond_its_hours_it_is_silent() -> None:
    history = frame(ramps(4))
    predictor = Autoregression(most_hours=0.5).fit(history, 60)
    said = predictor.predict(history, 60, LEVELS).values[0]
    assert np.isfinite(said[:30]).all()
    assert np.isnan(said[30:]).all()
    coarse = frame(ramps(4), step=7200.0)
    predictor = Autoregression(most_hours=1.0).fit(coarse, 3)
    assert np.isnan(predictor.predict(coarse, 3, LEVELS).values).all()
    again = Autoregression(most_hours=1.0).restore(predictor.state())
    assert np.isnan(again.predict(coarse, 3, LEVELS).values).all()


def test_a_gap_is_bridged_by_the_last_value() -> None:
    load = ramps(4)
    predictor = Autoregression().fit(frame(load), 5)
    cut = load.copy()
    cut[-4:] = np.nan
    said = predictor.predict(frame(cut), 5, LEVELS).values[0]
    assert np.isfinite(said).all()
    assert abs(said[0, 1] - load[-5]) < 150


def test_series_that_have_just_begun_and_horizons_beyond_all_history_are_no_error() -> None:
    load = np.full(4 * DAY, np.nan)
    load[-1] = 5.0
    predictor = Autoregression().fit(frame(load), 5)
    assert np.isnan(predictor.predict(frame(load), 5, LEVELS).values).all()
    coarse = frame(np.sin(np.arange(400) / 24), step=3600.0)
    far = Autoregression().fit(coarse, 500)
    assert np.isfinite(far.predict(coarse, 500, LEVELS).values).all()


def test_a_series_that_is_scraped_every_fifth_step_is_forecast() -> None:
    load = ramps(6)
    load[np.arange(len(load)) % 5 != 4] = np.nan
    history = frame(load)
    said = Autoregression().fit(history, 10).predict(history, 10, LEVELS).values[0]
    assert np.isfinite(said).all()


@pytest.mark.parametrize("values", [np.full(3 * DAY, 7.5), np.arange(3.0 * DAY), 1e15 + ramps(3), 1e-30 * ramps(3)])
def test_constants_counters_and_odd_sizes_are_forecast(values: NDArray[np.float64]) -> None:
    history = frame(values)
    said = Autoregression().fit(history, 5).predict(history, 5, LEVELS).values[0]
    spread = values.max() - values.min()
    assert (np.abs(said - values[-1]) <= spread + 1e-9 * abs(values[-1])).all()
