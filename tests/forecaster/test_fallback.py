"""Who speaks: nothing that is broken, and seasonal naive where nothing else is left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from forecaster import fallback
from forecaster.demotion import NONE_DEMOTED, Demoted
from forecaster.forecast import Forecast
from forecaster.frame import Frame
from forecaster.model import Predictor, State, label_key
from forecaster.models.ensemble import EnsemblePredictor
from forecaster.models.seasonal_naive import SeasonalNaivePredictor
from forecaster.models.trial import BUCKET_HOURS
from forecaster.parted import Part, PartedPredictor

STEP, DAY = 300.0, 288
LEVELS = (0.1, 0.5, 0.9)
NAMES = ("a", "b")
VALUES = 100 + np.random.default_rng(1).normal(size=(2, 4 * DAY))
RECENT = Frame(0.0, STEP, tuple({"app": name} for name in NAMES), VALUES)
KEYS = [label_key(labels) for labels in RECENT.labels]
NAIVE = SeasonalNaivePredictor(STEP)
FLOOR = fallback.floor_alone(NAIVE, RECENT, DAY, LEVELS).forecast.values


class Says:
    """A model that says one number of every series."""

    def __init__(self, *values: float) -> None:
        self.values = np.broadcast_to(values, 2)

    def predict(self, recent: Frame, horizon: int, levels: tuple[float, ...]) -> Forecast:
        rows = [NAMES.index(labels["app"]) for labels in recent.labels]
        values = self.values[rows, None, None] + np.zeros((len(rows), horizon, len(levels)))
        return Forecast(recent.end + STEP, STEP, levels, recent.labels, values)

    def weights(self, recent: Frame) -> Mapping[str, NDArray[np.float64]]:
        return {"lstm": np.ones(len(recent.labels))}

    def state(self) -> State:
        return State()


def ensemble(**models: float | tuple[float, float]) -> EnsemblePredictor:
    """Equal weights for `models`; seasonal naive is there without any."""
    parts = {name: Says(*np.broadcast_to(value, 2)) for name, value in models.items()}
    shares = np.full((2, len(BUCKET_HOURS), len(parts) + 1), 1 / len(parts), np.float32)
    shares[:, :, -1] = 0
    every = {**parts, "seasonal_naive": SeasonalNaivePredictor(STEP)}
    return EnsemblePredictor(STEP, tuple(KEYS), every, shares, np.ones(shares.shape[:2], np.float32))


def speak(
    predictor: Predictor, frame: Frame, horizon: int, demoted: Demoted, floor: Predictor = NAIVE
) -> fallback.Spoken:
    """As the pipeline does, with a predictor of one part."""
    parted = PartedPredictor.of([Part(tuple(KEYS), predictor)], floor)
    return fallback.speak(parted, frame, KEYS, horizon, LEVELS, demoted)


def out(series: str, *leads: float, model: str = "lstm") -> Demoted:
    """`model` demoted in one series at these of the leads 15 min, 1 h and 1 day."""
    every = (900.0, 3600.0, 86400.0)
    since = np.full((2, 3), np.nan)
    since[NAMES.index(series), [every.index(lead) for lead in leads]] = 1.0
    return Demoted(every, {model: since}, {model: since * 3})


ALWAYS = (900.0, 3600.0, 86400.0)


def test_a_demoted_model_has_no_say_in_its_series_however_absurd_it_is() -> None:
    spoken = speak(ensemble(lstm=1e30, profile=90), RECENT, DAY, out("a", *ALWAYS))
    np.testing.assert_allclose(spoken.forecast.values[0], 90, atol=1e-6)
    assert spoken.forecast.values[1].min() > 1e28
    np.testing.assert_allclose(spoken.weights["lstm"], [0, 0.5])
    np.testing.assert_allclose(spoken.weights["profile"], [1, 0.5])
    assert spoken.parts["lstm"][0, 0] == pytest.approx(1e30), "it is scored all the same"


def test_with_every_model_demoted_seasonal_naive_speaks() -> None:
    spoken = speak(ensemble(lstm=1e30), RECENT, DAY, out("a", *ALWAYS))
    np.testing.assert_allclose(spoken.forecast.values[0], FLOOR[0])
    np.testing.assert_allclose(spoken.weights["seasonal_naive"], [1, 0])


def test_a_model_demoted_a_day_ahead_keeps_its_say_in_the_next_hour() -> None:
    spoken = speak(ensemble(lstm=50, profile=90), RECENT, DAY, out("a", 86400.0))
    median = spoken.forecast.values[0, :, 1]
    assert median[5] == pytest.approx(70)
    assert median[-1] == pytest.approx(90)
    soon = speak(ensemble(lstm=50, profile=90), RECENT, DAY, out("a", 900.0))
    median = soon.forecast.values[0, :, 1]
    assert median[0] == pytest.approx(90)
    assert median[5] == pytest.approx(70), "half an hour ahead nothing is said against it"


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_silence(broken: float) -> None:
    spoken = speak(ensemble(lstm=(broken, 50.0), profile=90), RECENT, DAY, NONE_DEMOTED)
    np.testing.assert_allclose(spoken.forecast.values[0], 90)
    np.testing.assert_allclose(spoken.forecast.values[1], 70)
    np.testing.assert_allclose(spoken.weights["lstm"], [0, 0.5])
    alone = speak(Says(broken, 50.0), RECENT, DAY, NONE_DEMOTED)
    np.testing.assert_allclose(alone.forecast.values[0], FLOOR[0])
    np.testing.assert_allclose(alone.forecast.values[1], 50)
    np.testing.assert_allclose(alone.weights["seasonal_naive"], [1, 0])
    np.testing.assert_allclose(alone.weights["lstm"], [0, 1])


def test_a_model_that_stands_alone_is_demoted_too_and_scored_on() -> None:
    spoken = speak(Says(50.0), RECENT, DAY, out("b", *ALWAYS))
    np.testing.assert_allclose(spoken.forecast.values[0], 50)
    np.testing.assert_allclose(spoken.forecast.values[1], FLOOR[1])
    np.testing.assert_allclose(spoken.parts["lstm"], 50)
    np.testing.assert_allclose(spoken.weights["seasonal_naive"], [0, 1])


def test_a_model_that_stands_alone_keeps_the_leads_at_which_it_is_good() -> None:
    spoken = speak(Says(50.0), RECENT, DAY, out("b", 86400.0))
    np.testing.assert_allclose(spoken.forecast.values[1, :12], 50)
    np.testing.assert_allclose(spoken.forecast.values[1, 12:], FLOOR[1, 12:])
    np.testing.assert_allclose(spoken.weights["lstm"], [1, 12 / DAY])


def test_with_every_model_silent_the_ensembles_floor_has_spoken_and_is_named() -> None:
    spoken = speak(ensemble(lstm=(np.nan, 50.0), profile=(np.inf, 50.0)), RECENT, DAY, NONE_DEMOTED)
    np.testing.assert_allclose(spoken.forecast.values[0], FLOOR[0])
    np.testing.assert_allclose(spoken.weights["seasonal_naive"], [1, 0])
    np.testing.assert_allclose(spoken.weights["lstm"], [0, 0.5])
    np.testing.assert_allclose(spoken.weights["profile"], [0, 0.5])


def test_the_floor_that_steps_in_is_the_one_that_goes_by_the_targets_clock() -> None:
    other = Says(33.0)
    spoken = speak(Says(np.nan, 50.0), RECENT, DAY, NONE_DEMOTED, floor=other)
    np.testing.assert_allclose(spoken.forecast.values[0], 33)
    np.testing.assert_allclose(spoken.weights["seasonal_naive"], [1, 0])
    np.testing.assert_allclose(fallback.floor_alone(other, RECENT, DAY, LEVELS).forecast.values, 33)


def test_a_median_far_from_zero_is_as_fine_as_any() -> None:
    said = speak(Says(1e12 + 0.5), RECENT, DAY, NONE_DEMOTED).parts["lstm"]
    np.testing.assert_array_equal(said, 1e12 + 0.5)


def test_the_work_of_a_round_grows_no_faster_than_the_series() -> None:
    class Counted(dict[str, int]):
        looks = 0

        def get(self, key: str, default: Any = None) -> Any:
            self.looks += 1
            return super().get(key, default)

        def items(self) -> Any:
            self.looks += len(self)
            return super().items()

    def looks(count: int) -> int:
        labels = tuple({"app": "a", "n": str(n)} for n in range(count))
        keys = [label_key(one) for one in labels]
        owner = Counted(dict.fromkeys(keys, 0))
        parted = PartedPredictor((Part(tuple(keys), Says(50.0)),), owner, SeasonalNaivePredictor(STEP))
        fallback.speak(parted, Frame(0.0, STEP, labels, np.ones((count, 9))), keys, 2, LEVELS, NONE_DEMOTED)
        return owner.looks

    assert 0 < looks(80) <= 2 * looks(40)


def test_weights_in_use_add_up_to_1() -> None:
    for predictor in (ensemble(lstm=(np.nan, 50.0), profile=90, prophet=80), Says(50.0)):
        spoken = speak(predictor, RECENT, DAY, out("b", 3600.0, 86400.0))
        np.testing.assert_allclose(np.sum(list(spoken.weights.values()), axis=0), 1, rtol=1e-6)


def test_without_any_history_there_is_no_forecast() -> None:
    empty = Frame(0.0, STEP, RECENT.labels, np.full((2, DAY), np.nan))
    assert np.isnan(speak(Says(np.nan), empty, 4, NONE_DEMOTED).forecast.values).all()
