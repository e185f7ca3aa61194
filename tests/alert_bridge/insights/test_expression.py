from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from alert_bridge.insights import expression, units

RULES = Path(__file__).parents[3] / "prometheus" / "rules"


@pytest.mark.parametrize(
    ("text", "left", "operator", "limit"),
    [
        ("a > 5", "a{}", ">", 5.0),
        ("5 < a", "a{}", ">", 5.0),
        ("-5 >= a", "a{}", "<=", -5.0),
        ("a > bool 5", "a{}", ">", 5.0),
        ("((a) > (5))", "(a{})", ">", 5.0),
        ("(a > on (x) b) and (c < 3)", "c{}", "<", 3.0),
        ("(a > 5) unless on (x) (b < 3)", "a{}", ">", 5.0),
        ("b unless on (x) (c < 3)", "b{} unless on (x) (c{} < 3)", "", None),
        ("a == 0", "a{}", "==", 0.0),
        ("sum by (x) (rate(a[5m])) > 0.5 # a > 7", "sum by (x)(rate(a{}[5m]))", ">", 0.5),
        ("absent(a)", "absent(a{})", "", None),
    ],
)
def test_the_first_comparison_with_a_number_counts(text: str, left: str, operator: str, limit: float | None) -> None:
    found = expression.condition(text)
    assert found is not None
    assert (found.left, found.operator, found.limit) == (left, operator, limit)


def test_a_threshold_may_be_an_expression() -> None:
    vector, scalar = expression.condition("a > on (x) b"), expression.condition("a > 2 * 3")
    assert vector is not None
    assert (vector.left, vector.limit, vector.against) == ("a{}", None, "b{}")
    assert scalar is not None
    assert scalar.against == "vector(2 * 3)"


def test_what_stands_beside_the_comparison_is_kept() -> None:
    found = expression.condition("(a > 5 unless on (x) b > 2) and on (x) c < 300 and on (x) d")
    assert found is not None
    assert found.companions == ("c{} < 300", "d{}")


@pytest.mark.parametrize("value", [r'"q\"u > 1 \\ # {"', r"'it\'s > 5'", '`raw\\ " > 9`', '"wéb-☃"'])
def test_strings_stay_as_they_were_written(value: str) -> None:
    found = expression.condition(f"a{{x={value}}} > 5")
    assert found is not None
    assert found.left == f"a{{x={value}}}"
    assert found.limit == 5


@pytest.mark.parametrize(
    "text",
    ["", "  ", "a > > 5", "(", '"a', "a" * 5000, "(" * 500 + "a" + ")" * 500, "-" * 4000 + "a", "a" + "+a" * 1000],
)
def test_what_cannot_be_read_is_left_alone(text: str) -> None:
    assert expression.condition(text) is None


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://p:9090/graph?g0.expr=a+%3E+5&g0.tab=1", "a > 5"),
        ("http://p:9090/graph?g1.expr=a", ""),
        ("", ""),
        ("http://[", ""),
        ("not a url", ""),
        ("http://p/?" + "a=b&" * 100, ""),
    ],
)
def test_the_expression_is_read_from_the_url(url: str, text: str) -> None:
    assert expression.of_url(url) == text


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("node_memory_free_bytes < 1e9", units.BYTES),
        ("rate(node_network_receive_bytes_total[5m]) > 1e6", units.BYTES_PER_SECOND),
        ("sum by (a) (rate(requests_total[5m])) > 5", units.PER_SECOND),
        ("rate(cpu_seconds_total[5m]) > 0.5", units.PLAIN),
        ("cloudpulse:node_cpu_usage:ratio > 0.9", units.RATIO),
        ("1 - disk_free_ratio > 0.9", units.RATIO),
        ("time() - backup_timestamp_seconds > 86400", units.SECONDS),
        ("histogram_quantile(0.9, sum by (le) (rate(latency_seconds_bucket[5m]))) > 1", units.PLAIN),
        ("free_bytes / size_bytes < 0.1", units.PLAIN),
        ("free_bytes - age_seconds < 0.1", units.PLAIN),
        ("free_bytes + used_bytes < 0.1", units.BYTES),
        ("count(free_bytes) < 3", units.PLAIN),
    ],
)
def test_a_unit_is_guessed_only_where_the_name_tells_it(text: str, unit: units.Unit) -> None:
    found = expression.condition(text)
    assert found is not None
    assert found.unit == unit


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [
        (units.RATIO, 0.9312, "93.1 %"),
        (units.RATIO, 0.9, "90 %"),
        (units.BYTES, 1.3e9, "1.21 GiB"),
        (units.BYTES, 512.0, "512 B"),
        (units.SECONDS, 2400.0, "40 min"),
        (units.SECONDS, 0.0123, "12.3 ms"),
        (units.PLAIN, 1234.0, "1234"),
        (units.PLAIN, 12345.0, "12.3k"),
        (units.PLAIN, 0.0, "0"),
        (units.PLAIN, -3e-5, "-3e-05"),
        (units.PER_SECOND, 700.0, "700/s"),
    ],
)
def test_numbers_read_as_people_write_them(unit: units.Unit, value: float, text: str) -> None:
    assert unit.text(value) == text


def test_a_span_has_one_scale() -> None:
    assert units.RATIO.span(0.4, 0.551) == "40–55.1 %"
    assert units.BYTES.span(5e8, 2e9) == "0.47–1.86 GiB"
    assert units.PLAIN.span(-3.0, 4.0) == "-3 to 4"
    assert units.PLAIN.span(4.0, 4.0) == "4"


def test_every_alert_that_is_shipped_can_be_read() -> None:
    groups = [group for file in RULES.glob("*.yml") for group in yaml.safe_load(file.read_text())["groups"]]
    alerts = {
        rule["alert"]: expression.condition(rule["expr"])
        for group in groups
        for rule in group["rules"]
        if "alert" in rule
    }
    assert all(alerts.values())
    ahead, now = alerts["CPUSaturationAhead"], alerts["CPUSaturated"]
    assert ahead is not None
    assert now is not None
    assert (ahead.operator, ahead.limit, ahead.metrics) == (">", 0.9, ("cloudpulse_forecast_value",))
    assert "cloudpulse:node_cpu_usage:ratio{} > 0.45" in ahead.companions  # what the forecast is of
    assert (now.limit, now.unit) == (0.9, units.RATIO)
