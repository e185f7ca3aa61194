from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path

import pytest

from cloudpulse.errors import AddressUnavailable, ConfigError
from cloudpulse.local import demo, ports, programs
from cloudpulse.local.outlook import sparkline

NOW = 1_700_050_000.0


@pytest.fixture(scope="module")
def trace() -> demo.Trace:
    return demo.load()


def test_the_trace_has_whole_days_and_repeats(trace: demo.Trace) -> None:
    assert trace.days == 16
    assert trace.at("app09", 5) == trace.at("app09", 5 + 16 * 1440)


def test_history_and_live_samples_are_one_series(trace: demo.Trace, tmp_path: Path) -> None:
    """What was backfilled for a minute is what a scrape at that minute would have seen."""
    found = programs.find()
    replay = demo.prepare(tmp_path, found, trace, "localhost:9815", NOW)
    (tmp_path / "prometheus" / "wal").mkdir()  # promtool looks for it
    listed = subprocess.run(
        [found.promtool, "tsdb", "dump", str(tmp_path / "prometheus")], capture_output=True, text=True, check=True
    )
    samples = [line for line in listed.stdout.splitlines() if 'app="app09"' in line]
    assert len(samples) == 14 * 1440 + 1
    newest = max(samples, key=lambda line: int(line.rsplit(" ", 1)[1]))
    labels, value, milliseconds = newest.rsplit(" ", 2)
    assert 'instance="localhost:9815"' in labels
    assert 0 <= NOW - int(milliseconds) / 1000 < 120
    (family,) = replay.collect(int(milliseconds) / 1000)
    scraped = {sample.labels["app"]: sample.value for sample in family.samples}
    assert scraped["app09"] == float(value)


def test_a_second_start_goes_on_and_a_late_one_begins_anew(trace: demo.Trace, tmp_path: Path) -> None:
    found = programs.find()
    first = demo.prepare(tmp_path, found, trace, "x", NOW)
    assert demo.prepare(tmp_path, found, trace, "x", NOW + 3600) == first
    later = demo.prepare(tmp_path, found, trace, "x", NOW + 3 * 86400)
    assert later.anchor == first.anchor + 3 * 86400
    assert json.loads((tmp_path / "anchor.json").read_text())["anchor"] == later.anchor


def test_a_start_on_another_port_begins_anew(trace: demo.Trace, tmp_path: Path) -> None:
    """What is scraped there has another `instance`: a series of its own, without the past of the first."""
    found = programs.find()
    demo.prepare(tmp_path, found, trace, "localhost:9815", NOW)
    written = {path.name for path in (tmp_path / "prometheus").iterdir()}
    demo.prepare(tmp_path, found, trace, "localhost:19815", NOW)
    assert not written & {path.name for path in (tmp_path / "prometheus").iterdir()}


@pytest.mark.parametrize("option", ["prometheus", "nothing=1", "prometheus=x", "prometheus=0", "prometheus=65536"])
def test_a_wrong_port_option_is_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=option):
        ports.chosen((option,))


def test_free_ports_are_fine_and_a_taken_one_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AddressUnavailable, match=rf"{port} \(exporter\) by"):
            ports.check_free({"exporter": port})
    ports.check_free({"exporter": port})


@pytest.mark.parametrize(
    ("values", "drawn"), [([0, 1, 2], "▁▄█"), ([5, 5], "▁▁"), ([None, 1.0, 0.0], " █▁"), ([None], ""), ([], "")]
)
def test_sparklines(values: list[float | None], drawn: str) -> None:
    assert sparkline(values) == drawn
