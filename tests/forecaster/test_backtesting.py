"""`cloudpulse backtest`, as its user calls it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from cloudpulse.errors import CloudPulseError, QueryRejected
from cloudpulse.promql import Series
from cloudpulse.testing import FakeSource, query_api, serving
from forecaster import outcome, verdicts
from forecaster.backtesting import command

DAY = 86400


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments))


@pytest.fixture
def stairs(tmp_path: Path) -> Path:
    """Ten days of hours; `up` is 10 higher every day, `<b>` does not move, `gone` is empty."""
    path = tmp_path / "stairs.csv"
    rows = [f"2024-01-{d + 1:02}T{h:02}:00:00Z,{10 * d},7," for d in range(10) for h in range(24)]
    path.write_text("\n".join(["timestamp,up,<b>,gone", *rows]) + "\n")
    return path


def test_the_table_has_what_the_hand_computes(stairs: Path) -> None:
    """Yesterday is 10 too low today, from any origin; seasonal naive is as good as itself."""
    done = run("--csv", str(stairs), "--step", "1h", "--horizon", "24h", "--models", "seasonal_naive")
    assert done.exit_code == 0, (done.output, done.exception)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("stairs: 5 origins, 2024-01-0")
    assert lines[0].endswith("forecasts by seasonal_naive 100%")
    assert lines[1].split() == [
        "horizon",
        "series",
        "MAE",
        "MASE",
        "WQL",
        "10-90%",
        "band",
        "(of",
        "80%)",
        "bias",
        "worse",
    ]
    horizon, compared, of, total, mae, mase, wql, _, bias, worse = lines[2].split()
    # Two series have values, and nothing can be compared about the constant, which both foresee.
    assert (horizon, compared, of, total) == ("24h", "1", "of", "2")
    assert (mae, mase, wql, bias, worse) == ("10", "1.000", "1.000", "-1.00", "0.0%")
    assert lines[3].startswith("  up to 24h: error the same against seasonal naive")


def test_json_has_the_same_by_series(stairs: Path) -> None:
    done = run("--csv", str(stairs), "--step", "1h", "--horizon", "24h", "--models", "seasonal_naive", "--json")
    (found,) = json.loads(done.stdout)["forecasts"]
    assert [one["name"] for one in found["series"]] == ["up", "<b>"]
    up, constant = (one["horizons"][0] for one in found["series"])
    assert (up["points"], up["mae"], up["seasonal_naive_mae"], up["mase"]) == (5 * 24, 10, 10, 1)
    assert up["bias_ratio"] == -1
    assert up["coverage"][1] == {"level": 0.5, "ratio": 0.0}
    assert up["band"]["nominal"] == 0.8
    assert (constant["mae"], constant["mase"]) == (0, None)
    assert found["series"][1]["facts"] == ["constant: nothing to forecast"]
    assert found["horizons"][0]["mase"] == 1
    assert len(found["origins"]) == 5
    assert found["model_weights"] == {"seasonal_naive": 1.0}


def test_a_horizon_that_the_history_is_too_short_for_is_named(tmp_path: Path) -> None:
    path = tmp_path / "short.csv"
    rows = [f"2024-01-{1 + h // 24:02}T{h % 24:02}:00:00Z,{h % 24}" for h in range(40)]
    path.write_text("\n".join(["timestamp,a", *rows]) + "\n")
    done = run("--csv", str(path), "--step", "1h", "--models", "seasonal_naive")
    assert done.exit_code == 0, done.output
    assert "not tested, too little history: 24h" in done.stdout
    done = run("--csv", str(path), "--step", "1h", "--models", "seasonal_naive", "--horizon", "24h")
    assert done.exit_code == 1
    assert "short: not tested: 1d16h of history: a day to learn from and the horizon are needed, 2d" in done.stdout


class _Page(HTMLParser):
    """Counts tags, and keeps what could load something or run."""

    VOID = frozenset({"meta", "path", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.count: dict[str, int] = {}
        self.suspicious: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        if tag not in self.VOID:
            self.open.append(tag)
        if tag in {"script", "link", "img", "iframe"} or any(name in {"src", "onclick", "onload"} for name, _ in attrs):
            self.suspicious.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_report_is_one_page_that_loads_and_runs_nothing(stairs: Path, tmp_path: Path) -> None:
    html = tmp_path / "report.html"
    done = run("--csv", str(stairs), "--step", "1h", "--models", "profile", "--html", str(html))
    assert done.exit_code == 0, (done.output, done.exception)
    text = html.read_text()
    page = _Page()
    page.feed(text)
    assert page.open == []
    assert page.suspicious == []
    assert "://" not in text
    assert page.count["svg"] >= 3
    assert "prefers-color-scheme: dark" in text
    assert "&lt;b&gt;" in text
    assert "<code><b>" not in text
    assert "nan" not in text.lower()


def test_a_report_that_can_not_be_written_is_one_message(stairs: Path) -> None:
    done = run("--csv", str(stairs), "--step", "1h", "--models", "profile", "--html", "/no/such/report.html")
    assert isinstance(done.exception, CloudPulseError)
    assert "/no/such/report.html: the report can't be written" in str(done.exception)


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Path]:
    """Two forecasts, of which Prometheus refuses one."""
    now = time.time()

    def samples(query: str) -> list[Series]:
        if query == "bad(":
            raise QueryRejected("parse error: unclosed left parenthesis")
        times = np.arange(now // 300 * 300 - 6 * DAY, now, 300.0)
        wave = 100 + 40 * np.sin(2 * np.pi * times / DAY) + np.sin(times * 12.9898)
        return [Series({"__name__": "rps", "app": "a"}, times, wave)]

    with serving(query_api(FakeSource(samples, lambda: now))) as url:
        path = tmp_path / "cloudpulse.yaml"
        path.write_text(
            f"prometheus: {{url: '{url}'}}\nforecaster:\n  forecasts:\n"
            "    - {name: web, query: rps, step: 1h, history: 4d, horizons: [1h, 1d], models: [profile]}\n"
            "    - {name: wrong, query: 'bad(', models: [profile]}\n"
        )
        yield path


def test_configured_forecasts_are_read_from_prometheus_and_one_that_fails_stops_no_other(config: Path) -> None:
    done = run("--config", str(config), "--origins", "3")
    assert done.exit_code == 1
    assert "web: 3 origins" in done.stdout
    assert 'rps{app="a"}' in done.stdout
    assert "wrong: not tested: Prometheus refused the query: parse error" in done.stdout


def test_one_forecast_can_be_picked_and_asked_of_another_model(config: Path) -> None:
    done = run("--config", str(config), "--forecast", "web", "--models", "seasonal_naive", "--horizon", "2h", "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    (found,) = json.loads(done.stdout)["forecasts"]
    assert found["name"] == "web"
    assert [one["horizon"] for one in found["horizons"]] == ["2h"]
    assert found["horizons"][0]["mase"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--forecast", "nobody"), 'there is no "nobody"'),
        (("--models", "arima"), 'there is no "arima"'),
        (("--horizon", "1m"), "expected at least one step of 1h"),
        (("--history", "soon"), 'expected a duration such as 1m, got "soon"'),
        (("--step", "5m"), "--step is the CSV's"),
        (("--origins", "0"), "0 is not in the range"),
        (("--csv", "x.csv", "--forecast", "web"), "--csv is tested alone"),
        (("--csv", "/no/such.csv"), "can't read it"),
    ],
)
def test_wrong_usage_is_one_clear_message(arguments: tuple[str, ...], message: str, config: Path) -> None:
    done = run("--config", str(config), *arguments)
    if isinstance(done.exception, CloudPulseError):
        assert done.exception.exit_code == 2
        assert message in str(done.exception)
    else:
        assert done.exit_code == 2
        assert message in done.output


def test_a_config_without_forecasts_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "cloudpulse.yaml"
    path.write_text("prometheus: {}\n")
    done = run("--config", str(path))
    assert isinstance(done.exception, CloudPulseError)
    assert "no forecasts: add one under forecaster.forecasts, or give --csv FILE" in str(done.exception)


@pytest.mark.parametrize(
    ("ratio", "tone", "words"),
    [(0.81, "good", "19% less"), (0.97, "even", "3% less"), (1.3, "bad", "30% more"), (1.001, "even", "the same")],
)
def test_a_ratio_to_seasonal_naive_is_put_in_words(ratio: float, tone: str, words: str) -> None:
    assert (verdicts.tone(ratio), verdicts.against_naive(ratio)) == (tone, words)


def test_a_band_is_judged_by_what_its_levels_promise() -> None:
    assert verdicts.calibration((0.1, 0.5, 0.9), 0.83) == ("good", "about right")
    assert verdicts.calibration((0.1, 0.5, 0.9), 0.70) == ("bad", "too narrow")
    assert verdicts.calibration((0.25, 0.5, 0.75), 0.70) == ("even", "wider than needed")
    assert verdicts.calibration((0.5,), 0.0) == ("", "")


@pytest.mark.parametrize(("value", "text"), [(float("nan"), "-"), (0.0123456, "0.01235"), (342411.2, "342,411")])
def test_numbers_read_well(value: float, text: str) -> None:
    assert outcome.number(value) == text
