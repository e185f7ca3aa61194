"""The files of the local stack: the example's or the user's own, with this stack's ports and folders."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import yaml

from cloudpulse.local import layout, ports, programs

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


def test_the_files_of_a_stack_have_its_ports_and_folders(tmp_path: Path) -> None:
    taken = ports.chosen(("prometheus=19090", "alert-bridge=19812"))
    layout.write_files(None, taken, tmp_path)
    assert "url: http://localhost:19090" in (tmp_path / "cloudpulse.yaml").read_text()
    assert str(tmp_path / "forecaster") in (tmp_path / "cloudpulse.yaml").read_text()
    assert "localhost:19812/api/v1/alerts" in (tmp_path / "alertmanager.yml").read_text()
    assert "listen: 127.0.0.1:9814" in (tmp_path / "cloudpulse.yaml").read_text()
    assert "9090]" not in (tmp_path / "prometheus.yml").read_text().replace("19090]", "")
    subprocess.run([programs.find().promtool, "check", "config", str(tmp_path / "prometheus.yml")], check=True)


def test_a_users_own_config_is_served_to_keda_on_loopback_with_what_else_it_says(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("scaler: {keda: {listen: ':1', tls: {cert_file: a, key_file: b, client_ca_file: c}}}")
    layout.write_files(own, ports.chosen(("keda=19814",)), tmp_path / "data")
    keda = yaml.safe_load((tmp_path / "data" / "cloudpulse.yaml").read_text())["scaler"]["keda"]
    assert keda == {"listen": "127.0.0.1:19814", "tls": {"cert_file": "a", "key_file": "b", "client_ca_file": "c"}}


def test_the_forecaster_of_a_stack_relays_its_bridge_with_the_key_that_the_file_names(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("forecaster: {alert_bridge: {url: 'https://elsewhere', api_key_file: key}}")
    layout.write_files(own, ports.chosen(("alert-bridge=19812",)), tmp_path / "data")
    relayed = yaml.safe_load((tmp_path / "data" / "cloudpulse.yaml").read_text())["forecaster"]["alert_bridge"]
    assert relayed == {"url": "http://localhost:19812", "api_key_file": "key"}
