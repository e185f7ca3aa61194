"""Tuning learns from weeks of the very series, and only where that is better on days that it hasn't seen."""

from __future__ import annotations

import numpy as np
import pytest

from forecaster.frame import Frame
from forecaster.localtime import UTC
from forecaster.models import fit, tuning, weights
from forecaster.models.ensemble import EnsemblePredictor
from forecaster.models.lesson import Lesson

STEP, DAY = 1800.0, 48


def weeks(days: int, series: int = 6) -> Frame:
    """Load that doubles for two hours at a time of its own each day, and where a quiet hour tells of the rush."""
    random = np.random.default_rng(3)
    times = np.arange(days * DAY)
    values = np.stack([100 + 30 * ((times + 5 * i) % DAY < 4) + random.normal(0, 1, len(times)) for i in range(series)])
    values[:, ::17] += 40 * (np.sin(np.arange(len(times[::17]))) > 0)
    return Frame(1_700_006_400.0, STEP, tuple({"app": str(i)} for i in range(series)), values)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "_MOST_WINDOWS", 320)
    monkeypatch.setattr(tuning, "_BATCHES", 20)


def test_two_weeks_are_not_enough() -> None:
    assert not tuning.enough(weeks(20))
    assert tuning.enough(weeks(21))


@pytest.mark.usefixtures("brief")
def test_what_is_tuned_is_better_on_later_days_or_is_what_was_shipped() -> None:
    shipped, history = weights.read("lstm"), weeks(35)
    found = tuning.tuned(shipped, history)
    _, held = tuning._lessons(history)
    if found is not shipped:
        assert set(found) == set(shipped)
        before, after = (np.mean([tuning._losses(one, lesson) for lesson in held], 0) for one in (shipped, found))
        assert (after < before).all()
    again = tuning.tuned(shipped, history)
    for name in found:
        np.testing.assert_array_equal(found[name], again[name])


def test_no_day_is_both_learned_from_and_judged_by(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[tuple[int, int]] = []

    def drawn(padded: object, grid: object, origins: tuple[int, int], *_: object) -> list[Lesson]:
        ends.append(origins)
        return []

    monkeypatch.setattr(tuning, "_drawn", drawn)
    tuning._lessons(weeks(35))
    (_, last_learned), (first_held, _) = ends
    assert last_learned + DAY <= first_held


def test_the_days_that_models_are_compared_on_are_kept_from_tuning(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Frame] = []
    shipped = weights.read("lstm")

    def tuned(parameters: object, history: Frame) -> object:
        given.append(history)
        return shipped

    monkeypatch.setattr(tuning, "tuned", tuned)
    history = weeks(24, series=2)
    fitted = fit(("profile", "lstm"), UTC, history, DAY)
    assert isinstance(fitted, EnsemblePredictor)
    assert [one.length for one in given] == [history.length - 3 * DAY]
    fit(("profile",), UTC, history, DAY)
    fit(("lstm",), UTC, weeks(14), DAY)
    assert len(given) == 1
