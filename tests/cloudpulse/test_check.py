"""`cloudpulse check --online`: what it says about a Prometheus that answers in every way."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from cloudpulse.check import command
from cloudpulse.errors import ConfigError, QueryRejected
from cloudpulse.promql import Series
from cloudpulse.testing import FakeSource, query_api, serving
from forecaster import probe

DAY = 86400
NOW = time.time() // 300 * 300


def wave(labels: dict[str, str], days: float = 5) -> Series:
    """Goes on for an hour: however long the tests take, there is an answer now."""
    times = np.arange(NOW - days * DAY, NOW + 3600, 300.0)
    return Series(labels, times, 100 + 40 * np.sin(2 * np.pi * times / DAY) + np.sin(times * 12.9898))


def held(one: Series, times: int) -> Series:
    """The same, but only every so many values are new."""
    index = np.searchsorted(one.times, one.times // (300 * times) * (300 * times))
    return Series(one.labels, one.times, one.values[index])


def constant(one: Series) -> Series:
    return Series(one.labels, one.times, np.full_like(one.values, 7.0))


def rising(one: Series) -> Series:
    """A counter by another name, with a restart in the middle."""
    total = np.cumsum(np.abs(one.values))
    middle = len(total) // 2
    return Series(one.labels, one.times, np.where(np.arange(len(total)) < middle, total, total - total[middle]))


def gappy(one: Series) -> Series:
    """Two of three values are missing, but for those of the next hour."""
    kept = (np.arange(len(one.times)) % 3 == 0) | (one.times >= NOW)
    return Series(one.labels, one.times[kept], one.values[kept])


A, B = {"__name__": "rps", "app": "a"}, {"__name__": "rps", "app": "b"}
ANSWERS: dict[str, list[Series]] = {
    "rps": [wave(A), wave(B)],
    "young": [wave(A, days=0.5)],
    "gappy": [gappy(wave(A))],
    "gone": [wave(A), Series(B, wave(B).times[:-100], wave(B).values[:-100])],
    "slow": [held(wave(A), 4)],
    "constant": [wave(A), constant(wave(B))],
    "nothing": [],
    "nan": [Series(A, wave(A).times, np.full(len(wave(A).times), np.nan))],
    "raw": [wave({"__name__": "requests_total"})],
    "seconds": [rising(wave({"__name__": "busy_seconds"})), wave(A)],
    "clash": [wave({"level": "0.9"})],
    "names": [wave({"__name__": "x", "app": "a"}), wave({"__name__": "y", "app": "a"})],
}


def _samples(query: str) -> list[Series]:
    if query == "bad(":
        raise QueryRejected("parse error: unclosed left parenthesis")
    return [wave(A)] if query == "vector(1)" else ANSWERS[query]


@pytest.fixture
def check(tmp_path: Path) -> Iterator[Callable[..., Result]]:
    """Runs `check --online` on one forecast; further keys of it, or of the forecaster, as YAML."""
    with serving(query_api(FakeSource(_samples, lambda: NOW))) as url:

        def run(query: str, more: str = "", forecaster: str = "") -> Result:
            path = tmp_path / "cloudpulse.yaml"
            path.write_text(
                f"prometheus:\n  url: {url}\n  basic_auth: {{username: me, password: hunter2}}\n"
                f"forecaster:\n  {forecaster}\n  forecasts:\n"
                f"    - {{name: web, query: '{query}', step: 5m, history: 5d, models: [profile]{more}}}\n"
            )
            done = CliRunner().invoke(command, ["--online", "--config", str(path)])
            assert "hunter2" not in done.output
            return done

        yield run


def line(done: Result, subject: str) -> str:
    """What was found about `subject`, with its grade; blanks made single."""
    lines = [" ".join(text.split()) for text in done.stdout.splitlines()]
    (found,) = [text for text in lines if text.split()[1:2] == [subject]]
    return found


def test_a_forecast_that_is_fine_is_explained(check: Callable[..., Result]) -> None:
    done = check("rps")
    assert done.exit_code == 0, (done.output, done.exception)
    assert line(done, "query").startswith('ok query 2 series, such as rps{app="a"}, in ')
    assert line(done, "history").startswith("ok history 5d of 5d asked (median series), 0.0% of the steps missing")
    assert line(done, "step") == "ok step 5m is no finer than the data"
    # The sine's variance is 800, the other's 0.5.
    assert "the time of day explains 100% of the variance (median of 2 series; half or more in 2)" in done.stdout
    assert "2,880 points; about" in line(done, "cost")
    # value: 4 horizons x 3 levels; mase and bias: 3 horizons; coverage: 3 x 3; and once each weight, timestamp,
    # observed and score.
    assert line(done, "exports").startswith("ok exports at most 98 series on /metrics (2 series x 49")


@pytest.mark.parametrize(
    ("query", "subject", "expected"),
    [
        ("bad(", "query", "fail query Prometheus refused the query: parse error: unclosed left parenthesis"),
        ("nothing", "query", "fail query answers no series now: try it in Prometheus"),
        ("nan", "values", "fail values every value is NaN or infinite"),
        ("clash", "labels", "fail labels the label level is CloudPulse's own: rename it"),
        ("names", "labels", "fail labels series differ in their metric name only"),
    ],
)
def test_a_query_that_can_not_be_forecast_fails(
    query: str, subject: str, expected: str, check: Callable[..., Result]
) -> None:
    done = check(query)
    assert done.exit_code == 1, (done.output, done.exception)
    assert line(done, subject).startswith(expected)


@pytest.mark.parametrize(
    ("query", "subject", "expected"),
    [
        ("young", "history", "warn history 12h"),
        ("gappy", "history", "warn history 4d23h of 5d asked (median series), 66."),
        ("gone", "churn", 'note churn 1 series of the history are gone now, such as rps{app="b"}'),
        ("slow", "step", "warn step values only change every 20m: a step of 5m repeats them at 4 times the cost"),
        ("constant", "constant", 'note constant 1 of 2 series never changed, such as rps{app="b"}'),
        ("seconds", "rising", "note rising 1 of 2 series only ever rise, such as busy_seconds{}: if that is a counter"),
        ("raw", "counter", "warn counter requests_total is a counter fed raw"),
    ],
)
def test_what_is_odd_about_the_data_is_said_and_is_no_failure(
    query: str, subject: str, expected: str, check: Callable[..., Result]
) -> None:
    done = check(query)
    assert done.exit_code == 0, (done.output, done.exception)
    assert line(done, subject).startswith(expected)


def test_bounds_and_thresholds_are_held_against_the_values(check: Callable[..., Result]) -> None:
    done = check("rps", ", bounds: {max: 100}, thresholds: [100]")
    assert re.fullmatch(r"ok threshold 100 was reached in (49|50|51)\.\d% of the history", line(done, "threshold"))
    assert re.match(r"warn bounds (49|50|51)\.\d% of the values lie outside, from 59", line(done, "bounds"))


def test_more_series_than_allowed_are_a_warning_and_only_those_allowed_cost(check: Callable[..., Result]) -> None:
    done = check("rps", forecaster="max_series: 1")
    assert line(done, "series").startswith("warn series 1 would be left out: forecaster.max_series is 1")
    assert line(done, "exports").startswith("ok exports at most 49 series")


def test_a_history_too_large_to_look_at_is_read_at_a_wider_step(
    check: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step is judged on its own grid all the same, and the cost is that of the whole history."""
    monkeypatch.setattr(probe, "_MOST_CELLS", 200)
    done = check("slow")
    assert line(done, "history").startswith("ok history 5d of 5d asked")
    assert line(done, "step").startswith("warn step values only change every 20m")
    assert "1,440 points" in line(done, "cost")


def test_an_unreachable_prometheus_is_said_once(tmp_path: Path) -> None:
    path = tmp_path / "cloudpulse.yaml"
    path.write_text("prometheus: {url: 'http://127.0.0.1:9'}\nforecaster: {forecasts: [{name: a, query: up}]}\n")
    done = CliRunner().invoke(command, ["--online", "--config", str(path)])
    assert done.exit_code == 1
    assert done.stdout.count("http://127.0.0.1:9 is not reached") == 1
    assert "forecasts[0]" not in done.stdout


def test_a_bad_config_ends_before_anything_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "cloudpulse.yaml"
    path.write_text("forecaster: {forecasts: [{name: a, query: up, step: fast}]}\n")
    done = CliRunner().invoke(command, ["--online", "--config", str(path)])
    assert isinstance(done.exception, ConfigError)
    assert done.exception.exit_code == 2


def test_a_web_config_is_checked_with_the_files_that_it_names(tmp_path: Path) -> None:
    path, web = tmp_path / "cloudpulse.yaml", tmp_path / "web.yml"
    path.write_text("")
    web.write_text("http_server_config: {headers: {X-Frame-Options: deny}}")
    argv = ["--config", str(path), "--web.config.file", str(web)]
    done = CliRunner().invoke(command, argv)
    assert (done.exit_code, done.stdout.splitlines()[1]) == (0, f"{web} is fine (plain HTTP, users: everyone)")
    web.write_text("tls_server_config: {cert_file: none.pem, key_file: none.pem}")
    done = CliRunner().invoke(command, argv)
    assert isinstance(done.exception, ConfigError)
    assert "none.pem): No such file" in str(done.exception)
