"""What the expressions that are more than a selector answer, asked of Prometheus' own engine (promtool)."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.grafana.saved import DASHBOARDS

APP = 'app="a\\"b", instance="web:80"'
"""The source's labels; a scrape adds `job` and, as the Prometheus operator does, others."""
SCRAPED = f'forecast="demand", {APP}, job="forecaster", namespace="monitoring"'
ITSELF = 'instance="here:9811", job="forecaster", namespace="monitoring"'
MATCHERS = 'app="a\\"b",instance="web:80"'
INFO = f"cloudpulse_forecast_info{{{SCRAPED}, matchers={yaml.safe_dump(MATCHERS, default_style=chr(34)).strip()}}}"
VALUES = {
    "$__range": "48h",
    "$forecast": "demand",
    "$horizon": "1h",
    "$low": "0.1",
    "$high": "0.9",
    "${series:raw}": MATCHERS,
}
ROW = f"{{forecast='demand', matchers={yaml.safe_dump(MATCHERS, default_style=chr(34)).strip()}, threshold='600'}}"


def one(metric: str, labels: str, **more: str) -> str:
    """A series as promtool writes it."""
    own = "".join(f', {key}="{value}"' for key, value in more.items())
    return f"cloudpulse_forecast_{metric}{{{labels}{own}}}"


def expressions(board: str, title: str, **changes: str) -> list[str]:
    """The queries of a panel, its variables filled in."""
    (panel,) = [panel for panel in DASHBOARDS[board]["panels"] if panel["title"] == title]
    texts = [target["expr"] for target in panel["targets"]]
    for name, value in {**VALUES, **changes}.items():
        texts = [text.replace(name, value) for text in texts]
    assert not any("$" in text for text in texts)
    return texts


def answers(folder: Path, series: dict[str, str], at: str, *asked: tuple[str, Sequence[tuple[str, float]]]) -> None:
    """Let promtool compare: each expression at the time `at` answers these samples, labels and value."""
    tests = [
        {
            "expr": expr,
            "eval_time": at,
            "exp_samples": [{"labels": labels, "value": value} for labels, value in samples],
        }
        for expr, samples in asked
    ]
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    content: dict[str, Any] = {"tests": [{"interval": "1m", "input_series": inputs, "promql_expr_test": tests}]}
    file = folder / "answers.yml"
    file.write_text(yaml.safe_dump(content))
    done = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_crosses_next_is_one_row_with_its_chance_and_its_error_whatever_the_labels_are(tmp_path: Path) -> None:
    other = SCRAPED.replace("web:80", "web:81")
    series = {
        INFO: "1x10",
        INFO.replace("web:80", "web:81"): "1x10",
        one("time_to_threshold_seconds", SCRAPED, threshold="600", level="0.5"): "900x10",
        one("time_to_threshold_seconds", SCRAPED, threshold="600", level="0.9"): "300x10",
        one("time_to_threshold_seconds", other, threshold="600", level="0.5"): "+Inf+0x10",
        one("time_to_threshold_seconds", other, threshold="600", level="0.9"): "60x10",
        one("threshold_probability", SCRAPED, threshold="600", horizon="15m"): "0.25x10",
        one("threshold_probability", SCRAPED, threshold="600", horizon="1h"): "0.75x10",
        one("threshold_probability", other, threshold="600", horizon="1h"): "0.5x10",
        one("mase", SCRAPED, horizon="15m"): "0.5x10",
        one("mase", SCRAPED, horizon="1h"): "1.25x10",
    }
    expected_in, earliest_in, chance, error = expressions("overview", "What will cross its threshold next")
    answers(
        tmp_path,
        series,
        "5m",
        (expected_in, [(ROW, 900)]),
        (earliest_in, [(ROW, 300)]),
        (chance, [(ROW, 0.75)]),
        (error, [(ROW, 1.25)]),
    )


def test_the_paths_that_come_nearest_are_drawn_as_shares_of_the_lowest_threshold_into_the_future(
    tmp_path: Path,
) -> None:
    """The threshold itself is only known until now, ten minutes in."""
    series = {
        one("curve", f'app="{app}", forecast="demand"', level="0.5"): f"_x10 {100 * app}x200" for app in range(1, 11)
    }
    series |= {
        one("threshold", f'forecast="demand", {ITSELF}', threshold=threshold): f"{threshold}x10"
        for threshold in ("800", "400")
    }
    (nearest,) = expressions("overview", "How near to their thresholds")
    shown = [(f'{{app="{app}", forecast="demand", level="0.5"}}', app / 4) for app in range(3, 11)]
    answers(tmp_path, series, "3h", (nearest, shown))


def test_a_service_is_down_or_up_whatever_its_job_is_called(tmp_path: Path) -> None:
    series = {
        'up{job="a", instance="x"}': "1x30",
        'up{job="b", instance="y"}': "1x5 0x25",
        'up{job="another", instance="z"}': "0x30",
        'cloudpulse_build_info{job="a", instance="x", version="1"}': "1x30",
        'cloudpulse_build_info{job="b", instance="y", version="1"}': "1x5 stale",
    }
    (services,) = expressions("overview", "Services")
    answers(tmp_path, series, "20m", (services, [('{job="a"}', 1), ('{job="b"}', 0)]))


def test_a_forecast_that_was_there_and_is_not_is_counted_as_gone_and_none_is_zero(tmp_path: Path) -> None:
    kept = 'cloudpulse_forecast_series{forecast="kept"}'
    lost = 'cloudpulse_forecast_series{forecast="lost"}'
    (gone,) = expressions("overview", "Forecasts gone")
    answers(tmp_path, {kept: "3x30", lost: "2x5 stale"}, "20m", (gone, [("{}", 1)]))
    answers(tmp_path, {kept: "3x30"}, "20m", (gone, [("{}", 0)]))


def test_an_error_is_the_actual_minus_what_was_forecast_that_long_before(tmp_path: Path) -> None:
    series = {one("observed", SCRAPED): "0x60 130x30"}
    for level, value in (("0.1", 90), ("0.5", 100), ("0.9", 120)):
        series[one("value", SCRAPED, horizon="1h", level=level)] = f"{value}x30 0x60"
    title = "Error of the forecast made $horizon before"
    labels = "{app='a\"b', forecast='demand', instance='web:80', job='forecaster', namespace='monitoring'}"
    lower, upper, error = expressions("forecast", title)
    edge = labels.replace("forecast=", "horizon='1h', forecast=")
    answers(tmp_path, series, "80m", (lower, [(edge, -10)]), (upper, [(edge, 20)]), (error, [(labels, 30)]))


def test_a_threshold_is_drawn_to_the_end_of_the_future(tmp_path: Path) -> None:
    *_, thresholds = expressions("forecast", "What was, what is to come")
    series = {f'cloudpulse_forecast_threshold{{forecast="demand", {ITSELF}, threshold="600"}}': "600x10"}
    answers(tmp_path, series, "24h", (thresholds, [('{threshold="600"}', 600)]))


def test_a_series_without_any_label_can_be_chosen(tmp_path: Path) -> None:
    """`sum(...)` has none: `$series` is then empty."""
    *_, observed, _ = expressions("forecast", "What was, what is to come", **{"${series:raw}": ""})
    sole = 'cloudpulse_forecast_observed{forecast="demand"}'
    answers(tmp_path, {sole: "2x10"}, "5m", (observed, [(sole, 2)]))


def test_a_band_that_holds_less_than_it_says_is_below_zero(tmp_path: Path) -> None:
    series = {
        one("coverage_ratio", SCRAPED, horizon="1h", level=level): f"{covered}x10"
        for level, covered in (("0.125", 0.25), ("0.875", 0.75))
    }
    (missing,) = expressions("accuracy", "In the band, against what it says", **{"$low": "0.125", "$high": "0.875"})
    answers(tmp_path, series, "5m", (missing, [('{forecast="demand", horizon="1h"}', -0.25)]))
