"""A predictor made of parts, with real models trained on different series."""

from __future__ import annotations

import numpy as np

from forecaster.frame import Frame
from forecaster.model import label_key
from forecaster.models import build
from forecaster.parted import Part, PartedPredictor
from forecaster.registry import About

LEVELS = (0.1, 0.5, 0.9)
STEPS = 24
NAMES = "abcdef"


def frame(names: str = NAMES) -> Frame:
    """Ten days of hourly values, each series with a daily wave of its own."""
    random = np.random.default_rng(1)
    hours = np.arange(240)
    everyone = {
        name: 50 + i * 10 + 20 * np.sin(2 * np.pi * (hours + i) / 24) + random.normal(0, 2, 240)
        for i, name in enumerate(NAMES)
    }
    return Frame(
        1_700_000_000.0 // 3600 * 3600, 3600.0, tuple({"s": n} for n in names), np.stack([everyone[n] for n in names])
    )


def part(names: str, models: tuple[str, ...], version: int = 1, trained_at: float = 0.0) -> Part:
    data = frame(names)
    about = About(trained_at, data.start, data.end, len(names), 1.0)
    return Part(key_of(names), build(models).fit(data, STEPS), version, about)


def key_of(names: str) -> tuple[str, ...]:
    return tuple(label_key({"s": name}) for name in names)


FLOOR = build(("seasonal_naive",)).fit(frame(), STEPS)
MIX = ("seasonal_naive", "profile")


def test_each_series_is_forecast_by_the_part_that_knows_it_and_the_others_by_the_floor() -> None:
    one, other = part("ab", ("profile",)), part("cd", ("profile",))
    whole = PartedPredictor.of([one, other], FLOOR).predict(frame("dafbce"), STEPS, LEVELS)
    for names, predictor in (("ab", one.predictor), ("cd", other.predictor), ("ef", FLOOR)):
        rows = ["dafbce".index(name) for name in names]
        np.testing.assert_allclose(whole.values[rows], predictor.predict(frame(names), STEPS, LEVELS).values, rtol=1e-5)
    assert whole.labels == frame("dafbce").labels


def test_the_later_part_wins_and_a_part_that_owns_nothing_is_dropped() -> None:
    old, new, newest = part("ab", ("profile",), 1), part("bc", ("profile",), 2), part("ab", ("profile",), 3)
    parted = PartedPredictor.of([old, new, newest], FLOOR)
    assert parted.parts == (new, newest)
    assert parted.version == 3
    assert {key: parted.parts[i] for key, i in parted.owner.items()} == dict(
        zip(key_of("abc"), (newest, newest, new), strict=True)
    )


def test_the_age_is_that_of_the_newest_training() -> None:
    spot = Part(key_of("a"), FLOOR)
    assert np.isnan(PartedPredictor.of([spot], FLOOR).trained_at)
    assert PartedPredictor.of([spot], FLOOR).version == 0
    parts = [part("b", ("profile",), trained_at=5.0), part("c", ("profile",), trained_at=3.0)]
    assert PartedPredictor.of([spot, *parts], FLOOR).trained_at == 5.0


def test_weights_are_the_union_of_the_parts_models_and_add_up_to_one() -> None:
    parted = PartedPredictor.of([part("ab", MIX), part("cd", ("profile",))], FLOOR)
    weights = parted.weights(frame())
    assert set(weights) == {"profile", "seasonal_naive"}
    np.testing.assert_allclose(sum(weights.values()), 1.0, rtol=1e-6)
    np.testing.assert_allclose(weights["profile"][2:], [1, 1, 0, 0])


def test_what_the_models_said_is_nan_where_a_part_has_no_such_model() -> None:
    parted = PartedPredictor.of([part("ab", MIX), part("cd", ("profile",))], FLOOR)
    said = parted.predict(frame("abcd"), STEPS, LEVELS).parts
    assert set(said) == set(MIX)
    assert not np.isnan(said["profile"]).any()
    assert np.isnan(said["seasonal_naive"][2:]).all()


def test_a_demoted_model_has_no_share_in_that_series_and_the_others_keep_theirs() -> None:
    parted = PartedPredictor.of([part("ab", MIX), part("cd", MIX)], FLOOR)
    less = parted.without({"profile": set(key_of("bc"))})
    weights = less.weights(frame("abcd"))
    np.testing.assert_allclose(weights["profile"][1:3], 0.0)
    np.testing.assert_allclose(weights["seasonal_naive"][1:3], 1.0)
    before, after = parted.predict(frame("abcd"), STEPS, LEVELS), less.predict(frame("abcd"), STEPS, LEVELS)
    np.testing.assert_allclose(after.values[[0, 3]], before.values[[0, 3]])
    floor = FLOOR.predict(frame("bc"), STEPS, LEVELS)
    np.testing.assert_allclose(after.values[1:3], floor.values, rtol=1e-5)


def test_it_is_known_which_series_have_one_model_only() -> None:
    parted = PartedPredictor.of([part("ab", MIX), part("cd", ("profile",))], FLOOR)
    assert parted.alone(key_of("bcxd")).tolist() == [False, True, False, True]
    assert parted.alone([]).tolist() == []


def test_no_series_is_an_empty_forecast() -> None:
    empty = PartedPredictor.of([], FLOOR).predict(frame().select([]), STEPS, LEVELS)
    assert empty.values.shape == (0, STEPS, 3)
    assert PartedPredictor.of([], FLOOR).weights(frame().select([])) == {}
