from __future__ import annotations

from pathlib import Path

import pytest

from cloudpulse import config
from cloudpulse.errors import ConfigError
from forecaster.config import ForecasterSettings

GOOD = {"name": "web", "query": "up"}


def settings(**forecast: object) -> ForecasterSettings:
    tree = {"forecaster": {"forecasts": [{**GOOD, **forecast}]}}
    return config.ConfigFile(Path("c.yaml"), tree).section("forecaster", ForecasterSettings)


def test_the_shortest_config_is_a_name_and_a_query() -> None:
    target = settings().forecasts[0]
    assert [str(h) for h in target.horizons] == ["5m", "15m", "1h", "24h"]
    assert target.models == "auto"
    assert target.steps == 1441, "a day, and a step for the time until the next prediction"


def test_the_median_is_always_predicted() -> None:
    assert settings(levels=[0.1, 0.9]).forecasts[0].all_levels == (0.1, 0.5, 0.9)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ({"step": "fast"}, r'forecaster.forecasts\[0\].step: expected a duration such as 1m, got "fast"'),
        ({"name": "Web"}, "name: expected lower-case"),
        ({"query": " "}, "query: expected a PromQL expression"),
        ({"levels": [0.5, 0.1]}, "rising levels"),
        ({"levels": [0, 1]}, "between 0 and 1"),
        ({"horizons": []}, "at least one"),
        ({"horizons": ["24h", "1d"]}, "horizons: expected each once, got 24h, 1d"),
        ({"horizons": ["10s"]}, r"horizons\[0\]: expected at least one step"),
        ({"bounds": {"min": 1, "max": 0}}, "min below max"),
        ({"stepp": "1m"}, "unknown key `stepp`"),
        ({"thresholds": [1, 1]}, "each once"),
        ({"thresholds": [1, {"value": 1, "direction": "down"}]}, "each once"),
        ({"thresholds": [{"value": 1, "direction": "sideways"}]}, 'direction: expected up or down, got "sideways"'),
        ({"thresholds": [{"direction": "down"}]}, "value"),
        ({"thresholds": ["high"]}, "thresholds"),
        ({"every": "0s"}, "every: expected at least 1s"),
        ({"models": 3}, "models"),
        ({"models": ["lstn"]}, r'forecasts\[0\]: models: there is no "lstn"'),
        ({"models": []}, "models: expected"),
        (
            {"timezone": "Berlin"},
            r'forecasts\[0\]: timezone: expected an IANA name such as Europe/Berlin, got "Berlin"',
        ),
    ],
)
def test_mistakes_are_named(mistake: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(**mistake)


def test_models_of_another_time_zone_are_another_purpose() -> None:
    assert settings(timezone="Europe/Berlin").forecasts[0].purpose != settings().forecasts[0].purpose
    assert settings(timezone="UTC").forecasts[0].purpose == settings().forecasts[0].purpose


def test_a_name_used_twice_is_refused() -> None:
    tree = {"forecaster": {"forecasts": [GOOD, GOOD]}}
    with pytest.raises(ConfigError, match='"web" is used twice'):
        config.ConfigFile(Path("c.yaml"), tree).section("forecaster", ForecasterSettings)


def test_a_plain_threshold_is_crossed_upwards_and_keeps_its_label() -> None:
    target = settings(thresholds=[0.9, {"value": 1e10, "direction": "down"}]).forecasts[0]
    assert [(one.label, one.sign) for one in target.crossings] == [("0.9", 1), ("1e+10", -1)]


def test_with_thresholds_more_of_the_distribution_is_predicted_than_is_shown() -> None:
    target = settings(levels=[0.25, 0.75], thresholds=[1]).forecasts[0]
    assert target.all_levels == (0.25, 0.5, 0.75)
    assert set(target.all_levels) < set(target.predicted_levels)
    assert target.predicted_levels[0] <= 0.02
    assert target.predicted_levels[-1] >= 0.98
    plain = settings().forecasts[0]
    assert plain.predicted_levels == plain.all_levels


def bridge(**changes: object) -> ForecasterSettings:
    tree = {"forecaster": {"alert_bridge": {"url": "http://localhost:9812", **changes}}}
    return config.ConfigFile(Path("c.yaml"), tree).section("forecaster", ForecasterSettings)


def test_an_alert_bridge_needs_no_more_than_its_url() -> None:
    assert bridge().alert_bridge is not None
    assert config.ConfigFile(Path("c.yaml"), {}).section("forecaster", ForecasterSettings).alert_bridge is None


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ({"url": "localhost:9812"}, "forecaster.alert_bridge: url: expected a URL such as http://localhost:9812"),
        ({"url": "http://[::1"}, "url: expected a URL"),
        ({"url": "http://me:hush@localhost"}, "url: expected no user and password in it"),
        ({"url": "http://localhost/?key=hush"}, "url: expected nothing after the path"),
        ({"api_key": "hush", "api_key_file": "key"}, "api_key and api_key_file can't both be set"),
        ({"api_key": ["hush"]}, r"forecaster.alert_bridge.api_key: expected a text"),
        ({"key": "hush"}, "forecaster.alert_bridge: unknown key `key`"),
    ],
)
def test_a_mistake_in_the_alert_bridge_is_told_with_its_place_and_no_secret(
    mistake: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as wrong:
        bridge(**mistake)
    assert "hush" not in str(wrong.value)


def test_how_many_may_listen_has_bounds() -> None:
    tree = {"forecaster": {"stream": {"most": -1}}}
    with pytest.raises(ConfigError, match=r"forecaster.stream: most: expected 0 to 10000, got -1"):
        config.ConfigFile(Path("c.yaml"), tree).section("forecaster", ForecasterSettings)
