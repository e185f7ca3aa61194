"""`cloudpulse forecast`, as its user calls it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from click.testing import CliRunner, Result

from cloudpulse.errors import CloudPulseError
from cloudpulse.testing import serving
from forecaster.adhoc import command

DATA = Path(__file__).parent / "data" / "apps.csv.gz"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments))


def failure(*arguments: str) -> str:
    """What the user reads; the program's own errors are printed by cloudpulse.cli."""
    result = run(*arguments)
    assert result.exit_code != 0
    if isinstance(result.exception, CloudPulseError):
        assert result.exception.exit_code == 2
        return str(result.exception)
    assert result.exit_code == 2, result.exception
    return result.output


@pytest.fixture
def apps(tmp_path: Path) -> Path:
    path = tmp_path / "apps.csv"
    path.write_bytes(gzip.decompress(DATA.read_bytes()))
    return path


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    def make(text: str) -> str:
        path = tmp_path / "given.csv"
        path.write_text(text)
        return str(path)

    return make


def test_json_has_every_level_and_step_of_every_column(apps: Path) -> None:
    result = run(
        "--csv",
        str(apps),
        "--step",
        "5m",
        "--horizon",
        "24h",
        "--levels",
        "0.1,0.5,0.9",
        "--models",
        "profile",
        "--json",
    )
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["step_seconds"] == 300
    assert answer["start"] == "2021-10-21T00:00:00Z"
    assert answer["levels"] == [0.1, 0.5, 0.9]
    assert [series["name"] for series in answer["series"]] == ["app02", "app09", "app13", "app01"]
    values = np.array([series["values"] for series in answer["series"]])
    assert values.shape == (4, 3, 288)
    assert (np.diff(values, axis=1) >= 0).all()
    assert set(answer["seconds"]) == {"train", "predict"}


def test_the_table_names_times_and_levels(apps: Path) -> None:
    result = run("--csv", str(apps), "--horizon", "2h", "--models", "seasonal_naive")
    lines = result.stdout.splitlines()
    assert lines[0] == "app02"
    assert lines[1].split() == ["ahead", "time", "(UTC)", "level", "0.1", "level", "0.5", "level", "0.9"]
    assert [line.split()[0] for line in lines[2:7]] == ["5m", "15m", "30m", "1h", "2h"]
    assert lines[6].split()[1] == "2021-10-21T01:55:00Z"


def test_a_name_reaches_the_terminal_as_text(apps: Path) -> None:
    apps.write_text(apps.read_text().replace("app02", "app\x1b[2J\x9b2J\x07", 1))
    result = CliRunner().invoke(
        command, ["--csv", str(apps), "--horizon", "2h", "--models", "seasonal_naive"], color=True
    )
    assert result.stdout.splitlines()[0] == r"app\x1b[2J\x9b2J\x07"


def test_the_day_of_a_time_zone_is_followed_across_a_change_of_its_clocks(write: Callable[[str], str]) -> None:
    """Hourly, 9 to 17 h in Berlin; its clocks go forward on 29 March 2026, an hour before the file ends."""
    moments = [datetime(2026, 3, 15, tzinfo=UTC) + timedelta(hours=i) for i in range(14 * 24 + 2)]
    office = [100 if 9 <= moment.astimezone(ZoneInfo("Europe/Berlin")).hour < 17 else 10 for moment in moments]
    rows = [f"{moment:%Y-%m-%dT%H:%M:%SZ},{value}" for moment, value in zip(moments, office, strict=True)]
    path = write("\n".join(["timestamp,office", *rows]))
    opening = {}
    for zone in ("UTC", "Europe/Berlin"):
        options = (
            "--step",
            "1h",
            "--horizon",
            "12h",
            "--models",
            "profile",
            "--levels",
            "0.5",
            "--timezone",
            zone,
            "--json",
        )
        answer = json.loads(run("--csv", path, *options).stdout)
        assert answer["start"] == "2026-03-29T02:00:00Z"
        opening[zone] = 2 + next(i for i, value in enumerate(answer["series"][0]["values"][0]) if value > 50)
    assert opening == {"UTC": 8, "Europe/Berlin": 7}
    assert "expected an IANA name such as Europe/Berlin" in failure("--csv", path, "--timezone", "Berlin")


def test_a_picture_is_written(apps: Path, tmp_path: Path) -> None:
    picture = tmp_path / "out.png"
    result = run("--csv", str(apps), "--models", "seasonal_naive", "--plot", str(picture))
    assert result.exit_code == 0, result.output
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_an_expression_is_asked_from_prometheus_and_named_as_promql_writes_it(tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = []

    def prometheus(environ: Any, start_response: Any) -> list[bytes]:
        from urllib.parse import parse_qs

        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode()
        form = {key: values[0] for key, values in parse_qs(body).items()}
        asked.append(form)
        start, step = float(form["start"]), float(form["step"])
        count = int((float(form["end"]) - start) / step) + 1
        samples = [[start + k * step, str(100 + k % 24)] for k in range(count)]
        series = {"metric": {"__name__": "rps", "app": "a"}, "values": samples}
        answer = {"status": "success", "data": {"resultType": "matrix", "result": [series]}}
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(answer).encode()]

    with serving(prometheus) as url:
        result = run("rps", "--url", url, "--step", "1h", "--horizon", "1d", "--models", "profile", "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    answer = json.loads(result.stdout)
    assert answer["series"][0]["name"] == 'rps{app="a"}'
    assert len(answer["series"][0]["values"][0]) == 24
    first, last = min(float(form["start"]) for form in asked), max(float(form["end"]) for form in asked)
    assert last % 3600 == 0
    assert last - first == (14 * 24 - 1) * 3600


def test_an_unreachable_prometheus_is_an_error_that_names_it() -> None:
    result = run("up", "--url", "http://127.0.0.1:9", "--models", "profile")
    assert isinstance(result.exception, CloudPulseError)
    assert "http://127.0.0.1:9 is not reached" in str(result.exception)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_csv_may_come_from_a_pipe_and_be_compressed(pack: Callable[[bytes], bytes], apps: Path) -> None:
    arguments = ["--models", "profile", "--horizon", "1h", "--json"]
    piped = CliRunner().invoke(command, ["--csv", "-", *arguments], input=pack(apps.read_bytes()))
    assert piped.exit_code == 0, (piped.output, piped.exception)
    found, expected = (json.loads(one.stdout) for one in (piped, run("--csv", str(apps), *arguments)))
    assert found["series"] == expected["series"]


HOUR = "2024-01-01T0{}:00:00Z"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a CSV file"),
        ("time,a\n", 'the first column must be "timestamp", and fields end at commas; got "time"'),
        ("timestamp,a,\n2024-01-01T00:00:00Z,1,\n", "column 3 has no name in the first line"),
        ("timestamp\n2024-01-01T00:00:00Z\n", "no series: expected a column beside timestamp"),
        ("timestamp,a\n", "no rows"),
        ("timestamp,a,a\n2024-01-01T00:00:00Z,1,2\n", 'the column "a" is there twice'),
        ("timestamp,a\nyesterday,1\n", 'line 2, column "timestamp": expected a UTC time such as 2024-01-31T12:00:00Z'),
        (f"timestamp,a\n{HOUR.format(1)},1\n{HOUR.format(2)},many\n", 'line 3, column "a": expected a number'),
        (
            f"timestamp,a\n{HOUR.format(1)},1\n{HOUR.format(2)},2\n{HOUR.format(3)},3\n",
            "1h apart, not 5m: give --step 1h",
        ),
        (f"timestamp,a\n{HOUR.format(1)},1\n", "no series has enough observations"),
        (f"timestamp,a\n{HOUR.format(1)},1,7\n{HOUR.format(2)},1,2,3,4\n", "not a CSV file"),
    ],
)
def test_a_bad_csv_is_one_clear_message(text: str, message: str, write: Callable[[str], str]) -> None:
    assert message in failure("--csv", write(text), "--models", "profile")


def test_gaps_may_be_empty_or_nan_and_rows_may_come_in_any_order(write: Callable[[str], str]) -> None:
    rows = [f"2024-01-01T{h:02}:{m:02}:00Z,{h + m},{'' if m else 'NaN'}" for h in range(8) for m in range(0, 60, 5)]
    rows = rows[::-1]
    path = write("timestamp,a,b\n" + "\n".join(rows) + "\n")
    result = run("--csv", path, "--horizon", "30m", "--models", "profile", "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    answer = json.loads(result.stdout)
    assert answer["start"] == "2024-01-01T08:00:00Z"
    assert answer["series"][1]["values"] == [[None] * 6] * 3
    assert "no forecast for b" in result.stderr


def test_many_series_are_trained_part_by_part_in_the_order_of_the_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(100, 5, (60, 130)).round(2) * np.arange(1, 131)
    path = tmp_path / "many.csv"
    names = [f"s{i}" for i in range(130)]
    rows = [f"2024-01-{1 + h // 24:02}T{h % 24:02}:00:00Z,{','.join(map(str, row))}" for h, row in enumerate(values)]
    path.write_text("\n".join([f"timestamp,{','.join(names)}", *rows]) + "\n")
    done = run("--csv", str(path), "--step", "1h", "--horizon", "2h", "--models", "seasonal_naive", "--json")
    series = json.loads(done.stdout)["series"]
    assert [one["name"] for one in series] == names
    # Row 36 is the same time of day as the first predicted row, a day before it.
    np.testing.assert_allclose([one["values"][1][0] for one in series], values[36], rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "either a PROMQL expression or --csv FILE"),
        (("up", "--csv", "x.csv"), "either a PROMQL expression or --csv FILE"),
        (("--csv", "/no/such.csv"), "/no/such.csv: can't read it: No such file"),
        (("up", "--horizon", "soon"), 'expected a duration such as 1m, got "soon"'),
        (("up", "--step", "0"), 'expected more than 0s, got "0"'),
        (("up", "--levels", "0.9,0.1"), "expected rising numbers between 0 and 1"),
        (("up", "--levels", "nan"), "expected rising numbers between 0 and 1"),
        (("up", "--models", "arima"), 'there is no "arima"'),
        (("up", "--url", "localhost:9090"), "expected a URL that starts with http"),
        (("up", "--horizon", "9999d", "--step", "1s"), "at most 100000"),
    ],
)
def test_wrong_usage_is_one_clear_message(arguments: tuple[str, ...], message: str) -> None:
    assert message in failure(*arguments)
