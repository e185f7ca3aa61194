"""The rules and the local configuration, as Prometheus' own tools see them, held to the table of names."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from cloudpulse import check, config, names
from cloudpulse.durations import Duration
from forecaster.config import ForecasterSettings, Target
from scaler.config import ScalerSettings

ROOT = Path(__file__).parents[2]
RULE_FILES = sorted((ROOT / "prometheus" / "rules").glob("*.yml"))
TEST_FILES = sorted(Path(__file__).parent.glob("*_test.yml"))
EXAMPLE = ROOT / "examples" / "cloudpulse.yaml"
DEMO_THRESHOLD = re.compile(r"cloudpulse_demo_requests_per_minute > (\S+)")


def tool(*command: str | Path) -> None:
    """Run a checker that says by its exit code whether it is content."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def rules() -> list[dict[str, Any]]:
    return [
        rule for file in RULE_FILES for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]
    ]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def unit_tests(file: Path) -> list[dict[str, Any]]:
    return [case for group in yaml.safe_load(file.read_text())["tests"] for case in group.get("alert_rule_test", [])]


def example_forecast(name: str) -> Target:
    forecasts = config.read(EXAMPLE).section("forecaster", ForecasterSettings).forecasts
    (found,) = [target for target in forecasts if target.name == name]
    return found


def exported() -> set[str]:
    """Every name that a scrape can show: a histogram's three series instead of its own name."""
    return {
        definition.name + suffix
        for definition in names.definitions()
        for suffix in (("_bucket", "_sum", "_count") if definition.kind == "histogram" else ("",))
    }


def test_promtool_accepts_the_rules() -> None:
    tool("promtool", "check", "rules", *RULE_FILES)


def test_the_rules_do_what_their_unit_tests_say() -> None:
    tool("promtool", "test", "rules", *TEST_FILES)


def test_promtool_accepts_the_local_configuration() -> None:
    tool("promtool", "check", "config", ROOT / "prometheus" / "prometheus.yml")


@pytest.mark.skipif(shutil.which("amtool") is None, reason="amtool is not installed")
def test_amtool_accepts_the_local_configuration() -> None:
    tool("amtool", "check-config", ROOT / "prometheus" / "alertmanager.yml")


def test_every_series_in_the_rules_is_one_that_is_exported() -> None:
    used = {name for rule in rules() for name in re.findall(r"\bcloudpulse_\w+", rule["expr"])}
    assert used
    assert used <= exported()


def test_every_recorded_series_in_the_rules_is_recorded() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    used = {name for rule in rules() for name in re.findall(r"\bcloudpulse:[\w:]+", rule["expr"])}
    assert used
    assert used <= recorded


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
def test_an_alert_has_a_severity_a_static_summary_and_a_description_with_values(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    assert alert["annotations"]["summary"].endswith(".")
    assert "{{" not in alert["annotations"]["summary"]
    # `absent()` has no labels and only ever the value 1: nothing to show.
    assert "{{" in alert["annotations"]["description"] or alert["expr"].startswith("absent(")


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
def test_an_alert_has_unit_tests_of_firing_and_of_staying_silent(alert: dict[str, Any]) -> None:
    cases = [case for file in TEST_FILES for case in unit_tests(file) if case["alertname"] == alert["alert"]]
    assert any(case.get("exp_alerts") for case in cases)
    assert any(not case.get("exp_alerts") for case in cases)


def test_the_example_config_is_valid_and_shows_every_service() -> None:
    assert {"prometheus", "forecaster", "alert_bridge", "scaler"} <= config.read(EXAMPLE).tree.keys()
    done = CliRunner().invoke(check.command, ["--config", str(EXAMPLE)])
    assert done.exit_code == 0, done.output


def test_the_alerts_have_the_thresholds_of_the_example_config() -> None:
    expressions = {alert["alert"]: alert["expr"] for alert in alerts()}
    reactive = DEMO_THRESHOLD.search(expressions["DemandOverCapacity"])
    assert reactive is not None
    assert example_forecast("demand").thresholds == (float(reactive[1]),)
    (cpu,) = example_forecast("node_cpu").thresholds
    for name in ("CPUSaturated", "CPUSaturationAhead"):
        assert f"> {cpu:g}" in expressions[name]


def test_the_alerts_ask_for_levels_and_horizons_that_the_example_config_forecasts() -> None:
    for alert in alerts():
        for name, selectors in re.findall(r'cloudpulse_forecast_\w+\{forecast="(\w+)"([^}]*)', alert["expr"]):
            target = example_forecast(name)
            for level in re.findall(r'level="([^"]+)"', selectors):
                assert float(level) in target.levels
            for horizon in re.findall(r'horizon="([^"]+)"', selectors):
                assert Duration.parse(horizon) in target.horizons


def test_the_scaler_serves_a_level_and_a_horizon_that_the_example_config_forecasts() -> None:
    for rule in config.read(EXAMPLE).section("scaler", ScalerSettings).metrics:
        assert rule.forecast is not None
        target = example_forecast(rule.forecast)
        assert rule.level in target.levels
        assert rule.fixed_horizon in target.horizons


def test_the_forecast_of_the_cpu_is_of_what_the_recording_rule_calls_its_usage() -> None:
    (rule,) = [rule for rule in rules() if rule.get("record") == "cloudpulse:node_cpu_usage:ratio"]
    assert example_forecast("node_cpu").query == rule["expr"]


def test_the_demo_demand_is_whole_days_without_gaps_and_crosses_its_threshold_every_day() -> None:
    """Two weeks of history and a present to be judged by; the README beside it says 16 days."""
    demand = pd.read_csv(ROOT / "examples" / "data" / "demand.csv.gz", index_col="minute")
    assert list(demand.index) == list(range(16 * 1440))
    assert not demand.isna().to_numpy().any()
    assert (demand >= 0).to_numpy().all()
    (threshold,) = example_forecast("demand").thresholds
    peaks = demand.groupby(demand.index // 1440).quantile(0.95)
    assert (peaks[["app08", "app09"]] > threshold).to_numpy().all()
    assert (peaks[["app02", "app13", "nasa"]] < threshold).to_numpy().all()
