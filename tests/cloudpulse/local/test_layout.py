"""The files of the local stack: the example's or the user's own, with this stack's ports and folders."""

from __future__ import annotations

import stat
from pathlib import Path

import yaml

from cloudpulse.local import layout, ports

SWAPPED = {**ports.DEFAULTS, "exporter": 9811, "forecaster": 9810, "prometheus": 19090}


def test_ports_may_be_exchanged(tmp_path: Path) -> None:
    layout.write_files(None, SWAPPED, tmp_path)
    prometheus = yaml.safe_load((tmp_path / "prometheus.yml").read_text())
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in prometheus["scrape_configs"]}
    assert targets["exporter"] == ["localhost:9811"]
    assert targets["forecaster"] == ["localhost:9810"]
    assert targets["prometheus"] == ["localhost:19090"]
    assert prometheus["remote_read"][0]["url"] == "http://localhost:9810/api/v1/read"


def test_the_copy_of_a_config_that_may_hold_secrets_is_for_nobody_else_to_read(tmp_path: Path) -> None:
    own, copy = tmp_path / "own.yaml", tmp_path / "data" / "cloudpulse.yaml"
    copy.parent.mkdir()
    copy.touch(0o644)  # of an earlier version
    own.write_text("prometheus: {url: 'http://localhost:9090', headers: {X-Token: hush}}\n")
    layout.write_files(own, ports.DEFAULTS, tmp_path / "data")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert yaml.safe_load(copy.read_text())["prometheus"]["headers"] == {"X-Token": "hush"}
