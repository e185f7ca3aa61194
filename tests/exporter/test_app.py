from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping

import pytest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from cloudpulse.errors import ConfigError
from cloudpulse.reloading import Reload
from cloudpulse.testing import FakeClock, serving
from exporter.app import Exporter, create_face
from exporter.collector import Collector
from exporter.collectors.clock import ClockCollector
from exporter.config import CollectorSwitches, ExporterSettings
from exporter.paths import Paths
from exporter.system import this_system


class _Broken:
    def collect(self) -> Iterable[Metric]:
        raise OSError("no such device")


def _get(url: str, method: str = "GET") -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def _values(page: str) -> Mapping[str, float]:
    return {s.name: s.value for family in text_string_to_metric_families(page) for s in family.samples}


class _Config:
    """What the config file says, or the mistake in it."""

    def __init__(self) -> None:
        self.now: ExporterSettings | ConfigError = ExporterSettings()

    def __call__(self) -> ExporterSettings:
        if isinstance(self.now, ConfigError):
            raise self.now
        return self.now


def test_the_page_has_the_host_the_build_and_the_process() -> None:
    exporter = Exporter(ExporterSettings)
    with serving(create_face(exporter, Reload(exporter.apply, FakeClock()), lifecycle=False)) as url:
        status, page = _get(f"{url}/metrics")
        reload_status, _ = _get(f"{url}/-/reload", "POST")
    assert status == 200
    assert {
        "cloudpulse_node_load1",
        "cloudpulse_exporter_collector_success",
        "cloudpulse_build_info",
        "cloudpulse_config_last_reload_successful",
        "process_cpu_seconds_total",
    } <= set(_values(page))
    assert reload_status == 404


def test_it_is_ready_before_the_first_scrape() -> None:
    health = Exporter(ExporterSettings).health()
    assert health.ready
    assert health.facts["failing"] == []


def test_it_is_ready_as_long_as_one_collector_works(monkeypatch: pytest.MonkeyPatch) -> None:
    broken: dict[str, Collector] = {"cpu": _Broken(), "load": _Broken()}
    monkeypatch.setattr("exporter.app.enabled", lambda settings: broken)
    exporter = Exporter(ExporterSettings)
    assert not exporter.health().ready
    assert exporter.health().facts["failing"] == ["cpu", "load"]
    broken.pop("load")
    broken["clock"] = ClockCollector(this_system(Paths()))
    exporter.apply()
    assert exporter.health().ready
    assert exporter.health().facts["failing"] == ["cpu"]


def test_a_reload_changes_the_collectors_and_a_bad_config_leaves_them() -> None:
    config = _Config()
    exporter = Exporter(config)
    with serving(create_face(exporter, Reload(exporter.apply, FakeClock()), lifecycle=True)) as url:
        config.now = ExporterSettings(collectors=CollectorSwitches(load=False))
        assert _get(f"{url}/-/reload", "POST")[0] == 200
        after = _values(_get(f"{url}/metrics")[1])
        config.now = ConfigError("cloudpulse.yaml: exporter.collectors: unknown key `gpu`")
        status, answer = _get(f"{url}/-/reload", "POST")
        refused = _values(_get(f"{url}/metrics")[1])
    assert "cloudpulse_node_load1" not in after
    assert after["cloudpulse_config_last_reload_successful"] == 1
    assert status == 500
    assert "unknown key `gpu`" in answer
    assert "cloudpulse_node_load1" not in refused
    assert "cloudpulse_node_boot_time_seconds" in refused
    assert refused["cloudpulse_config_last_reload_successful"] == 0
