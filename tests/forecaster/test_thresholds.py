"""Chances of crossing are what happens, on simulated processes whose forecasts are exact."""

from __future__ import annotations

import numpy as np
import pytest

from forecaster.config import Target, Threshold
from forecaster.forecast import Forecast
from forecaster.frame import Frame
from forecaster.models.robust import normal_scores
from forecaster.thresholds import threshold_probability

DAY, DAYS, STEP, COUNT = 288, 7, 300.0, 600
LEVELS = Target(name="x", query="x", thresholds=(1.0,)).predicted_levels


class Process:
    """`share` of the variance is an AR(1), the rest new at every step; the forecast knows the AR(1)'s last value."""

    def __init__(self, persistence: float, share: float, steps: int, seed: int = 1) -> None:
        rng = np.random.default_rng(seed)
        origin = DAYS * DAY
        lasting = np.empty((COUNT, origin + steps))
        lasting[:, 0] = rng.normal(size=COUNT)
        draws = np.sqrt(1 - persistence**2) * rng.normal(size=lasting.shape)
        for t in range(1, lasting.shape[1]):
            lasting[:, t] = persistence * lasting[:, t - 1] + draws[:, t]
        values = np.sqrt(share) * lasting + np.sqrt(1 - share) * rng.normal(size=lasting.shape)
        kept = persistence ** np.arange(1, steps + 1)
        mean = np.sqrt(share) * lasting[:, origin - 1, None] * kept
        spread = np.sqrt(share * (1 - kept**2) + 1 - share)
        labels = tuple({"i": str(i)} for i in range(COUNT))
        self.recent = Frame(0.0, STEP, labels, values[:, :origin])
        self.forecast = Forecast(
            origin * STEP, STEP, LEVELS, labels, mean[:, :, None] + spread[:, None] * normal_scores(LEVELS)
        )
        self.future = values[:, origin:]


@pytest.mark.parametrize("steps", [3, 36, 288])
@pytest.mark.parametrize(("persistence", "share"), [(0.0, 1.0), (0.9, 1.0), (0.99, 1.0), (0.9, 0.5), (0.99, 0.3)])
@pytest.mark.parametrize("value", [1.0, 2.5])
def test_the_chance_is_what_happens(persistence: float, share: float, steps: int, value: float) -> None:
    """Within 0.07: the error of 600 draws is 0.04 at two standard deviations, that of the paths 0.03."""
    process = Process(persistence, share, steps)
    chance = threshold_probability(process.forecast, process.recent, Threshold(value=value), [steps * STEP])[:, 0]
    below = process.recent.values[:, -1] < value
    crossed = (process.future >= value).any(1)
    assert abs(chance[below].mean() - crossed[below].mean()) < 0.07
    for low, high in ((0.0, 0.35), (0.35, 0.65), (0.65, 1.0)):
        some = below & (chance >= low) & (chance <= high)
        if some.sum() >= 100:
            assert abs(chance[some].mean() - crossed[some].mean()) < 0.12


def test_the_chance_of_some_step_is_not_that_of_the_likeliest_nor_the_sum() -> None:
    process = Process(0.95, 1.0, 72)
    (chance,) = threshold_probability(process.forecast, process.recent, Threshold(value=2.0), [72 * STEP]).T
    below = process.recent.values[:, -1] < 2.0
    alone = (process.future >= 2.0).mean()
    assert alone * 5 < chance[below].mean() < alone * 72 / 2


def test_downwards_is_upwards_of_the_mirrored_series() -> None:
    process = Process(0.9, 0.5, 36)
    up = threshold_probability(process.forecast, process.recent, Threshold(value=1.5), [STEP, 36 * STEP])
    mirrored = Forecast(
        process.forecast.start, STEP, LEVELS, process.forecast.labels, -process.forecast.values[:, :, ::-1]
    )
    recent = Frame(0.0, STEP, process.recent.labels, -process.recent.values)
    down = threshold_probability(mirrored, recent, Threshold(value=-1.5, direction="down"), [STEP, 36 * STEP])
    np.testing.assert_allclose(down, up, atol=0.005)


def flat(paths: np.ndarray, last: float = 0.0, levels: tuple[float, ...] = LEVELS) -> tuple[Forecast, Frame]:
    """One series whose quantiles are rows of `paths` [step, level] after three days at `last`."""
    labels = ({"app": "a"},)
    recent = Frame(0.0, STEP, labels, np.full((1, 3 * DAY), last))
    return Forecast(3 * DAY * STEP, STEP, levels, labels, paths[None]), recent


NORMAL = np.tile(normal_scores(LEVELS), (288, 1))


def test_it_never_falls_with_the_horizon_whatever_their_order() -> None:
    wave = NORMAL + np.sin(np.arange(288) / 20)[:, None]
    horizons = [86400.0, 900.0, 3600.0, 43200.0]
    (chance,) = threshold_probability(*flat(wave), Threshold(value=2.2), horizons)
    ordered = chance[np.argsort(horizons)]
    assert (np.diff(ordered) >= 0).all()
    assert ordered[0] < ordered[-1]


def test_it_is_1_where_the_series_already_is() -> None:
    assert threshold_probability(*flat(NORMAL - 50, last=9.0), Threshold(value=9.0), [900.0])[0, 0] == 1
    assert (
        threshold_probability(*flat(NORMAL + 50, last=9.0), Threshold(value=9.0, direction="down"), [900.0])[0, 0] == 1
    )


def test_without_a_forecast_there_is_none() -> None:
    assert np.isnan(threshold_probability(*flat(NORMAL * np.nan, last=9.0), Threshold(value=1.0), [900.0])).all()


def test_beyond_the_outermost_levels_the_tails_go_on() -> None:
    """At one step the chance is exact: 3 and 4 standard deviations away."""
    for value, expected in ((3.0, 0.00135), (4.0, 3.2e-5), (-3.0, 0.99865)):
        (found,) = threshold_probability(*flat(NORMAL[:1], last=-9.0), Threshold(value=value), [STEP]).ravel()
        np.testing.assert_allclose(found, expected, rtol=0.05)


@pytest.mark.parametrize(("value", "expected"), [(6.9, 1.0), (7.0, 1.0), (7.1, 0.0)])
def test_a_forecast_that_is_one_value_is_sure(value: float, expected: float) -> None:
    (found,) = threshold_probability(*flat(np.full((12, len(LEVELS)), 7.0)), Threshold(value=value), [3600.0]).ravel()
    assert found == pytest.approx(expected, abs=1e-9)


def test_bounds_and_zeros_in_the_quantiles_are_no_trouble() -> None:
    paths = np.clip(NORMAL[:12], 0.0, 1.0)
    inside, at, above = (
        threshold_probability(*flat(paths, last=0.0), Threshold(value=value), [STEP])[0, 0] for value in (0.5, 1.0, 1.1)
    )
    assert inside == pytest.approx(0.31, abs=0.03)
    assert 0 < at < inside
    assert above == pytest.approx(0.0, abs=1e-9)


def test_a_horizon_beyond_the_path_counts_to_its_end() -> None:
    chance = threshold_probability(*flat(NORMAL[:12]), Threshold(value=2.0), [3600.0, 7200.0])
    assert chance[0, 0] == chance[0, 1]


def test_with_an_hour_of_history_there_is_a_chance_as_well() -> None:
    forecast, recent = flat(NORMAL)
    for columns in (1, 4, 12):
        chance = threshold_probability(forecast, recent.tail(columns), Threshold(value=2.0), [86400.0])
        assert 0.05 < chance[0, 0] <= 1
