"""The rules and the local configuration, held to the table of names; that promtool is content, `make rules` says."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import promql_parser
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
RUNBOOKS = ROOT / "docs" / "runbooks"
RUNBOOK_BASE = "{{ $externalURL }}/user/runbooks/"
"""Where a Prometheus with `--web.user-assets=docs` shows them, at whatever address it has; promtool has none."""
EXAMPLE = ROOT / "examples" / "cloudpulse.yaml"
RECORDED = {
    name: f"cloudpulse:{name}_usage:ratio" for name in ("node_cpu", "node_memory", "node_filesystem", "node_inodes")
}
DEMO_THRESHOLD = re.compile(r"cloudpulse_demo_requests_per_minute > (\S+)")


def tool(*command: str | Path) -> None:
    """Run a checker that says by its exit code whether it is content."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@functools.cache
def loaded(file: Path) -> Any:
    """The YAML of a file; read once, since every alert asks for it."""
    return yaml.safe_load(file.read_text())


def rules() -> list[dict[str, Any]]:
    return [rule for file in RULE_FILES for group in loaded(file)["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def minutes(moment: str) -> float:
    return Duration.parse(moment) / 60


def unit_tests(alert: str) -> list[list[dict[str, Any]]]:
    """The cases about an alert, of each group of cases that share their series, in the order of their time."""
    groups = [group for file in TEST_FILES for group in loaded(file)["tests"]]
    cases = [[case for case in group.get("alert_rule_test", []) if case["alertname"] == alert] for group in groups]
    return [sorted(one, key=lambda case: minutes(case["eval_time"])) for one in cases if one]


def severities(case: dict[str, Any]) -> set[str]:
    """Those of the alerts that fire then."""
    return {expected["exp_labels"]["severity"] for expected in case.get("exp_alerts", [])}


def runbook_queries() -> list[tuple[str, str]]:
    return [
        (page.stem, query)
        for page in sorted(RUNBOOKS.glob("*.md"))
        for query in re.findall(r"```promql\n(.*?)```", page.read_text(), re.DOTALL)
    ]


def normal(expression: str) -> str:
    return str(promql_parser.parse(expression))


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


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: f"{alert['alert']}-{alert['labels']['severity']}")
def test_an_alert_has_unit_tests_of_firing_of_staying_silent_and_of_resolving(alert: dict[str, Any]) -> None:
    severity, groups = alert["labels"]["severity"], unit_tests(alert["alert"])
    fires = [[severity in severities(case) for case in group] for group in groups]
    assert any(True in group for group in fires), "fires"
    assert any(False in group and True not in group[: group.index(False)] for group in fires), (
        "silent before, or always"
    )
    assert any(True in group and not all(group[group.index(True) :]) for group in fires), "resolves"


def test_every_unit_test_is_of_an_alert_that_exists() -> None:
    groups = [group for file in TEST_FILES for group in loaded(file)["tests"]]
    tested = {case["alertname"] for group in groups for case in group.get("alert_rule_test", [])}
    assert tested == {alert["alert"] for alert in alerts()}


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: f"{alert['alert']}-{alert['labels']['severity']}")
def test_an_alert_has_a_runbook_that_is_about_it(alert: dict[str, Any]) -> None:
    name = alert["alert"]
    assert re.fullmatch(r"(?:[A-Z]+[a-z]+)+", name)
    assert alert["annotations"]["runbook_url"] == f"{RUNBOOK_BASE}{name}.md"
    page = (RUNBOOKS / f"{name}.md").read_text()
    assert page.startswith(f"# {name}\n")
    for part in ("Means", "Impact", "Look", "Do", "When it is wrong"):
        assert f"**{part}.**" in page
    assert page.count("```promql\n") >= 1


def test_what_may_be_is_kept_quiet_while_it_is_so() -> None:
    """The pairs are those of the table in docs/runbooks/README.md."""
    table = re.findall(r"^\| (\w+Ahead) \| (\S+) \| (\w+) \|$", (RUNBOOKS / "README.md").read_text(), re.MULTILINE)
    assert len(table) == 5
    inhibiting = yaml.safe_load((ROOT / "prometheus" / "alertmanager.yml").read_text())["inhibit_rules"]
    for ahead, without_forecaster, so in table:
        (rule,) = [rule for rule in inhibiting if rule["source_matchers"] == [f'alertname="{so}"']]
        quiet = set(re.findall(r"[A-Z]\w+", rule["target_matchers"][0]))
        assert quiet == {ahead, without_forecaster} - {"-"}


def test_every_runbook_is_of_an_alert_and_names_alerts_that_exist() -> None:
    known = {alert["alert"] for alert in alerts()}
    assert {page.stem for page in RUNBOOKS.glob("*.md")} - {"README"} == known
    prefixes = (
        "Forecast|AlertBridge|Scaler|Filesystem|Inodes|Memory|CPU|Demand|Threshold|Series|Host|CloudPulse|Exporter"
    )
    for page in RUNBOOKS.glob("*.md"):
        named = set(re.findall(rf"\b(?:{prefixes})[a-z]*[A-Z]\w+", page.read_text()))
        assert named <= known, page.name


@pytest.mark.parametrize(("page", "query"), runbook_queries(), ids=lambda text: text[:40])
def test_the_queries_of_runbooks_are_promql_over_series_that_exist(page: str, query: str) -> None:
    normal(query)
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    assert set(re.findall(r"\bcloudpulse_\w+", query)) <= exported(), page
    assert set(re.findall(r"\bcloudpulse:[\w:]+", query)) <= recorded, page


def test_no_anomaly_wakes_anybody() -> None:
    found = [alert for alert in alerts() if "anomal" in alert["expr"]]
    assert found
    assert {alert["labels"]["severity"] for alert in found} == {"info", "warning"}


def test_every_alert_on_a_forecast_waits_and_is_kept_for_longer_than_a_round() -> None:
    """So that a forecast that wavers around its threshold makes one message, not one a round."""
    ahead = [alert for alert in alerts() if alert["alert"].endswith("Ahead")]
    assert ahead
    for alert in ahead:
        assert Duration.parse(alert["for"]) >= 120
        assert Duration.parse(alert["keep_firing_for"]) >= 600


def test_what_is_forecast_by_the_example_config_is_announced_once() -> None:
    """ThresholdCrossingAhead is for forecasts that have no alert of their own."""
    own = {name for alert in alerts() for name in re.findall(r'forecast="(\w+)"', alert["expr"])}
    (excluded,) = {
        regex
        for alert in alerts()
        if alert["alert"] in ("ThresholdCrossingAhead", "ThresholdCrossed")
        for regex in re.findall(r'forecast!~"([^"]+)"', alert["expr"])
    }
    forecasts = config.read(EXAMPLE).section("forecaster", ForecasterSettings).forecasts
    assert own == {target.name for target in forecasts}
    assert all(re.fullmatch(excluded, name) for name in own)


def test_the_example_config_is_valid_and_shows_every_service() -> None:
    assert {"prometheus", "forecaster", "alert_bridge", "scaler"} <= config.read(EXAMPLE).tree.keys()
    done = CliRunner().invoke(check.command, ["--config", str(EXAMPLE)])
    assert done.exit_code == 0, done.output


def test_the_alerts_have_the_thresholds_of_the_example_config() -> None:
    expressions = {alert["alert"]: alert["expr"] for alert in alerts()}
    reactive = DEMO_THRESHOLD.search(expressions["DemandOverCapacity"])
    assert reactive is not None
    assert example_forecast("demand").thresholds == (float(reactive[1]),)
    for forecast, names_of in {
        "node_cpu": ("CPUSaturated", "CPUSaturationAhead"),
        "node_memory": ("MemoryExhausted", "MemoryFillingUp"),
        "node_filesystem": ("FilesystemFull", "FilesystemFillingUp"),
        "node_inodes": ("InodesExhausted", "InodesFillingUp"),
    }.items():
        (threshold,) = example_forecast(forecast).thresholds
        for name in names_of:
            assert f"> {threshold:g}" in expressions[name]


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


@pytest.mark.parametrize(("forecast", "recorded"), RECORDED.items())
def test_a_forecast_is_of_what_the_recording_rule_calls_its_usage(forecast: str, recorded: str) -> None:
    (rule,) = [rule for rule in rules() if rule.get("record") == recorded]
    assert normal(example_forecast(forecast).query) == normal(rule["expr"])


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
