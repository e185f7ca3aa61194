"""`cloudpulse simulate`, as its user calls it."""

from __future__ import annotations

import json
import math
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from cloudpulse.errors import CloudPulseError
from cloudpulse.promql import Series
from cloudpulse.testing import FakeSource, query_api, serving
from forecaster.simulating import command

QUICK = ("--models", "seasonal_naive", "--step", "5m", "--every", "5m")
HPA = """
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
spec:
  minReplicas: 3
  maxReplicas: 17
  metrics: [{type: External, external: {target: {type: AverageValue, averageValue: 1500m}}}]
  behavior: {scaleUp: {policies: [{type: Pods, value: 1, periodSeconds: 300}]}}
"""


def rush(minute: int) -> float:
    """A hundred, and from noon to one o'clock four hundred, each day the same."""
    return 400.0 if 720 <= minute % 1440 < 780 else 100.0


@pytest.fixture
def rushes(tmp_path: Path) -> Path:
    """Four days of `rush`, every 5 min; an hour of the last night is missing."""
    path = tmp_path / "rushes.csv"
    rows = []
    for minute in range(0, 4 * 1440, 5):
        stamp = f"2024-01-{minute // 1440 + 1:02}T{minute // 60 % 24:02}:{minute % 60:02}:00Z"
        rows.append(f"{stamp},{'' if 4620 <= minute < 4680 else rush(minute)}")
    path.write_text("\n".join(["timestamp,value", *rows]) + "\n")
    return path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments))


def answer(*arguments: str) -> dict[str, Any]:
    done = run(*arguments, "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_load_that_comes_every_day_is_served_ahead_of_its_time(rushes: Path) -> None:
    """Two days are learnt from, two rushes simulated: without a forecast each is short from its begin on."""
    found = answer("--csv", str(rushes), *QUICK, "--levels", "0.5", "--horizons", "auto,10m")
    reactive, auto, later = found["reactive"], *found["predictive"]
    assert found["start"].startswith("2024-01-02T23:5")
    assert reactive["hours"] == pytest.approx(48 - 1, abs=0.2)
    # The sample of 12:00 describes what came from 11:55 on and is known at 12:00:30; pods serve 2 min later.
    assert 2 * 7.5 <= reactive["short_minutes"] < 2 * 8.5
    # The forecast of 12:00 is made from what is known up to 11:55, or up to 11:50, and is there a minute later.
    assert (auto["horizon_seconds"], later["horizon_seconds"]) == (300, 600)
    assert 2 * 3 <= auto["short_minutes"] < 2 * 4
    assert later["short_minutes"] == 0
    assert reactive["pod_hours"] < later["pod_hours"] < 1.05 * reactive["pod_hours"]
    assert (reactive["best"], auto["best"], later["best"]) == (False, False, True)
    assert reactive["cost"] is None


def test_sizes_follow_from_the_load_where_nothing_is_said(rushes: Path) -> None:
    """A mean of 112.66 is served by 10 pods, each held to 70%; the peak asks for 51, and twice that is allowed."""
    found = answer("--csv", str(rushes), *QUICK)
    hours = 4 * 24 - 1
    mean = (4 * 400 + (hours - 4) * 100) / hours
    assert found["pod_capacity"] == pytest.approx(mean / 10)
    assert found["hpa"] == {
        "min_replicas": 1,
        "max_replicas": 2 * math.ceil(400 / (0.07 * mean)),
        "average_value": round(0.07 * mean, 3),
        "behavior": None,
    }
    assert len(found["predictive"]) == 3 * 3


def test_an_hpa_manifest_is_taken_exactly(rushes: Path, tmp_path: Path) -> None:
    path = tmp_path / "hpa.yaml"
    path.write_text(HPA)
    found = answer("--csv", str(rushes), *QUICK, "--hpa", str(path), "--target", "60%")
    default = {
        "stabilizationWindowSeconds": 300,
        "selectPolicy": "Max",
        "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
        "tolerance": 0.1,
    }
    up = {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 1, "periodSeconds": 300}]}
    behavior = {"scaleUp": default | up, "scaleDown": default}
    assert found["hpa"] == {"min_replicas": 3, "max_replicas": 17, "average_value": 1.5, "behavior": behavior}
    assert found["pod_capacity"] == pytest.approx(2.5)


def test_a_utilization_is_the_target(rushes: Path, tmp_path: Path) -> None:
    path = tmp_path / "hpa.yaml"
    utilization = "type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 55}}"
    path.write_text(HPA[: HPA.index("type: External")] + utilization + "}]\n")
    found = answer("--csv", str(rushes), *QUICK, "--hpa", str(path), "--pod-capacity", "20")
    assert (found["target"], found["hpa"]["average_value"]) == (0.55, 11)


def test_the_table_marks_the_best_and_says_what_it_gains(rushes: Path) -> None:
    prices = ("--price-pod-hour", "0.1", "--price-short-minute", "10")
    done = run("--csv", str(rushes), *QUICK, "--levels", "0.5", "--horizons", "10m", *prices)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("46.98 h of load, 2024-01-02T23:56:00Z to 2024-01-04T23:55:00Z")
    assert "a pod serves 11.26" in lines[1]
    assert "ready after 2m; no behavior" in lines[1]
    head = ["scaling", "horizon", "level", "short minutes", "unserved", "pod-hours", "scalings", "flaps", "cost"]
    assert re.split("  +", lines[2].strip()) == head
    assert lines[3].split()[:3] == ["reactive", "-", "-"]
    assert lines[4].split()[:6] == ["*", "predictive", "10m", "0.5", "0", "(-100.0%)"]
    assert lines[5].startswith("  best (*): horizon 10m, level 0.5: -100.0% short minutes, +")
    assert lines[5].endswith("% cost against reactive")


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.charts = 0
        self.bars = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "path", "br"):
            self.open.append(tag)
        known = dict(attrs)
        self.loads += [tag] if tag in ("script", "link", "img", "iframe") or "src" in known else []
        self.charts += known.get("role") == "img"
        self.bars += (known.get("class") or "").startswith("short") and len(known.get("d") or "") > 20

    def handle_endtag(self, tag: str) -> None:
        if tag != "path":
            assert self.open.pop() == tag


def test_the_report_draws_the_whole_and_the_worst_day_and_loads_nothing(rushes: Path, tmp_path: Path) -> None:
    html = tmp_path / "report.html"
    chosen = ("--levels", "0.5", "--horizons", "10m", "--price-short-minute", "1")
    done = run("--csv", str(rushes), *QUICK, *chosen, "--html", str(html))
    assert done.exit_code == 0, (done.output, done.exception)
    text = html.read_text()
    page = _Page()
    page.feed(text)
    assert (page.open, page.loads) == ([], [])
    assert page.charts == 2  # all of it, the worst day of reactive scaling; predictive has no bad one
    assert page.bars == 2  # reactive was short on both, predictive never
    assert "Predictive scaling is best here" in text
    assert str(rushes) in text


def test_a_report_of_a_lowly_named_load_shows_the_name_as_text(rushes: Path, tmp_path: Path) -> None:
    other = rushes.rename(tmp_path / "<b>.csv")
    html = tmp_path / "report.html"
    assert run("--csv", str(other), *QUICK, "--html", str(html)).exit_code == 0
    assert "&lt;b&gt;.csv" in html.read_text()


def test_a_query_is_replayed_from_prometheus() -> None:
    times = time.time() // 300 * 300 - 300 * 1.0 * (4 * 288 - 1 - np.arange(4 * 288))
    series = [Series({"job": "web"}, times, times * 0 + 50)]
    with serving(query_api(FakeSource(lambda query: series, time.time))) as url:
        found = answer("sum(rate(hits[5m]))", "--url", url, "--history", "4d", *QUICK)
    assert found["load"] == "sum(rate(hits[5m]))"
    assert found["reactive"]["short_minutes"] == 0
    assert found["reactive"]["best"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected either a PROMQL expression or --csv"),
        (("up", "--csv", "x.csv"), "expected either"),
        (("up", "--target", "170%"), 'expected a share up to 100% such as 70%, got "170%"'),
        (("up", "--horizons", "auto,soon"), 'expected a duration such as 1m, got "soon"'),
        (("up", "--levels", "1.5"), "expected rising numbers between 0 and 1"),
        (("up", "--models", "crystal"), 'there is no "crystal"'),
        (("up", "--ready", "0s"), "expected more than 0s"),
        (("up", "--pod-capacity", "5", "--mean-pods", "3"), "--pod-capacity and --mean-pods both size a pod"),
        (("--csv", "{rushes}", *QUICK, "--min", "9", "--max", "3"), "0 <= minimum <= maximum"),
        (("--csv", "{rushes}", *QUICK, "--history", "1d"), "2 days are needed"),
        (("--csv", "{rushes}", *QUICK, "--pod-capacity", "0.0001"), "it counts thousandths"),
        (("--csv", "{rushes}", *QUICK, "--hpa", "{hpa}", "--max", "9"), "hpa.yaml has them: leave them out"),
        (("--csv", "{rushes}", *QUICK, "--hpa", "{hpa}", "--mean-pods", "9"), "has the load by pod: leave it out"),
        (("--csv", "{rushes}", *QUICK, "--hpa", "{hpa}", "--pod-capacity", "1"), "target: expected a share"),
        (("--csv", "{rushes}", *QUICK, "--hpa", "{rushes}"), "expected one HorizontalPodAutoscaler, got none"),
        (("--csv", "{rushes}", *QUICK, "--hpa", "absent.yaml"), "absent.yaml: can't read the manifest"),
    ],
)
def test_what_can_not_be_meant_is_one_message(
    rushes: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    hpa = tmp_path / "hpa.yaml"
    hpa.write_text(HPA)
    done = run(*(text.format(rushes=rushes, hpa=hpa) for text in arguments))
    assert done.exit_code != 0
    assert message in done.output + str(done.exception)
    assert isinstance(done.exception, CloudPulseError | SystemExit)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (lambda i: "", "2 days are needed"),
        (lambda i: "0", "the load is 0 on average"),
        (lambda i: "-1" if i == 900 else "5", "a load is never below 0, but this falls to -1"),
        (lambda i: "1,2", "expected one load, got 2 series"),
    ],
)
def test_what_is_no_load_is_said(tmp_path: Path, column: Any, message: str) -> None:
    path = tmp_path / "odd.csv"
    rows = [f"2024-01-{i // 288 + 1:02}T{i // 12 % 24:02}:{i % 12 * 5:02}:00Z,{column(i)}" for i in range(4 * 288)]
    path.write_text("\n".join(["timestamp,a,b" if "," in column(0) else "timestamp,a", *rows]) + "\n")
    done = run("--csv", str(path), *QUICK)
    assert isinstance(done.exception, CloudPulseError)
    assert message in str(done.exception)
