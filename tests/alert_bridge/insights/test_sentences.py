"""Golden sentences: what people read at 3 a.m."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from alert_bridge.insights import sentences, units
from alert_bridge.insights.forecasts import Forecast, Trust
from alert_bridge.insights.path import Path
from alert_bridge.insights.sentences import Subject

NOW = 1_000_000.0
LEVELS = (0.1, 0.5, 0.9)
TIMES = NOW + 60.0 * np.arange(181)
BAND = np.array([-0.05, 0.0, 0.05])


def forecast(per_hour: float, begin: float = 0.8) -> Forecast:
    """A median that begins at `begin` and changes by so much an hour."""
    way = begin + per_hour * (TIMES - NOW)[:, None] / 3600 + BAND
    expected = np.tile(0.475 + 1.5 * BAND, (2, 1))
    return Forecast("cpu", {}, Path(TIMES[:2] - 60, LEVELS, expected), Path(TIMES, LEVELS, way), Trust())


CPU = Subject(0.93, 0.9, 1, units.RATIO)
CALM = replace(CPU, actual=0.8)


def test_the_expected_range_is_held_against_what_is() -> None:
    assert sentences.expected(CPU, forecast(0)) == "Expected now: 40–55 %. It is 93 %, above that."
    assert (
        sentences.expected(replace(CPU, actual=0.5), forecast(0)) == "Expected now: 40–55 %. It is 50 %, within that."
    )
    assert sentences.expected(replace(CPU, actual=0.1), forecast(0)) == "Expected now: 40–55 %. It is 10 %, below that."
    assert sentences.expected(replace(CPU, actual=math.nan), forecast(0)) == "Expected now: 40–55 %."


def test_what_was_not_expected_in_numbers_is_not_said() -> None:
    blank = forecast(0)
    gone = replace(blank, expected=Path(blank.expected.times, LEVELS, np.full((2, 3), math.nan)))
    assert sentences.expected(CPU, gone) == ""
    assert sentences.ahead(CPU, replace(blank, ahead=Path(TIMES, LEVELS, np.full((181, 3), math.nan)))) == ""


@pytest.mark.parametrize(
    ("subject", "per_hour", "begin", "said"),
    [
        (CALM, 0.1, 0.8, "Expected to cross 90 % in 60 min (50 %), perhaps in 30 min (10 %)."),
        (CALM, 0.025, 0.8, "May cross 90 % in 2 h (10 %), but is not expected to within 3 h."),
        (CALM, 0.0, 0.8, "Not expected to cross 90 % within 3 h."),
        (CPU, -0.06, 0.93, "Expected back under 90 % in 30 min (50 %), almost surely in 80 min (90 %)."),
        (CPU, -0.012, 0.93, "Expected back under 90 % in 2.5 h (50 %), but not surely within 3 h."),
        (CPU, 0.0, 0.93, "Not expected back under 90 % within 3 h."),
        (
            Subject(0.3, 0.2, -1, units.RATIO),
            -0.1,
            0.3,
            "Expected to cross 20 % in 60 min (50 %), perhaps in 30 min (10 %).",
        ),
        (
            Subject(0.17, 0.2, -1, units.RATIO),
            0.06,
            0.17,
            "Expected back above 20 % in 30 min (50 %), almost surely in 80 min (90 %).",
        ),
        (Subject(1.0, 1.0, 0, units.PLAIN), 0.1, 0.3, ""),
        (Subject(1.0, None, 1, units.PLAIN), 0.1, 0.3, ""),
    ],
)
def test_when_it_crosses_or_recovers(subject: Subject, per_hour: float, begin: float, said: str) -> None:
    assert sentences.ahead(subject, forecast(per_hour, begin)) == said


def test_the_forecaster_knows_crossings_beyond_our_path() -> None:
    far = replace(forecast(0.0), crossings={0.5: 5 * 3600.0, 0.9: 4 * 3600.0})
    assert sentences.ahead(CALM, far) == "Expected to cross 90 % in 5 h (50 %), perhaps in 4 h (10 %)."
    never = replace(forecast(0.1), crossings={0.5: 0.0})
    assert sentences.ahead(CALM, never).startswith("Expected to cross 90 % in 60 min")


@pytest.mark.parametrize(
    ("trust", "said"),
    [
        (
            Trust("1h", 0.62, 0.79, 0.8),
            (
                "Lately this forecast was 38 % better than repeating the season, an hour ahead; "
                "79 % of values fell in its 80 % band."
            ),
        ),
        (Trust("15m", 1.0), "Lately this forecast was no better than repeating the season, 15 min ahead."),
        (
            Trust("24h", 1.34, 0.5, 0.8),
            "The forecast is not shown: lately its error was 1.3 times that of repeating the season, a day ahead.",
        ),
        (Trust("1h"), "This forecast is too new to say how good it is."),
    ],
)
def test_how_far_to_trust_it(trust: Trust, said: str) -> None:
    assert sentences.trust(trust) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (20, "a minute"),
        (400, "7 min"),
        (1000, "15 min"),
        (3600, "60 min"),
        (7300, "2 h"),
        (9500, "2.5 h"),
        (3e5, "3 days"),
    ],
)
def test_durations_are_as_exact_as_they_are_known(seconds: float, said: str) -> None:
    assert sentences.duration(seconds) == said
