"""Reloading, health, and the certificate of a first start."""

from __future__ import annotations

import os
import ssl
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from prometheus_client import CollectorRegistry

from cloudpulse.errors import ConfigError, SourceUnavailable, StoreError
from cloudpulse.promql import Series
from cloudpulse.testing import FakeClock, FakeSource
from scaler.certificate import self_signed
from scaler.config import ScalerSettings
from scaler.evaluation import Item
from scaler.meters import Meters
from scaler.provider import Answer
from scaler.service import Service

Read = Callable[[str], ScalerSettings]
AUTH = "\nauth: {anonymous: true}"
ONE = "{name: one, api: external, query: sum(m)}"
TWO = "{name: two, api: external, query: sum(n)}"


@pytest.fixture
def source(sample: Callable[..., Series]) -> FakeSource:
    clock = FakeClock()
    return FakeSource(lambda query: [sample(1.0, clock.now)], clock)


def _service(settings: ScalerSettings, source: FakeSource) -> Service:
    assert isinstance(source.clock, FakeClock)
    return Service(settings, source, Meters(CollectorRegistry(), source.clock), source.clock)


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_is_ready_once_prometheus_has_answered_every_rule(settings_of: Read, source: FakeSource) -> None:
    service = _service(settings_of(f"metrics: [{ONE}, {TWO}]{AUTH}"), source)
    assert not service.health().ready
    service.start()
    _wait(lambda: service.health().ready)
    assert service.health().facts == {"metrics": 2, "without a value": []}
    service.close()


def test_is_not_ready_without_prometheus_and_says_so(settings_of: Read, source: FakeSource) -> None:
    source.error = SourceUnavailable("away")
    service = _service(settings_of(f"metrics: [{ONE}]{AUTH}"), source)
    service.start()
    _wait(lambda: "can't be reached" in service.health().facts["without a value"][0])  # type: ignore[index]
    assert not service.health().ready
    service.close()


def test_a_reload_keeps_the_values_of_rules_that_did_not_change(settings_of: Read, source: FakeSource) -> None:
    service = _service(settings_of(f"metrics: [{ONE}]{AUTH}"), source)
    service.start()
    _wait(lambda: service.health().ready)
    source.error = SourceUnavailable("away")
    service.apply(settings_of(f"metrics: [{TWO}, {ONE}]{AUTH}"))
    (problem,) = service.health().facts["without a value"]  # type: ignore[misc]
    assert '"two" has no value yet' in problem
    service.apply(settings_of(f"metrics: [{ONE}]{AUTH}"))
    assert service.health().ready
    service.close()


def test_a_reload_of_the_interval_keeps_the_values_and_counts_at_once(settings_of: Read, source: FakeSource) -> None:
    rules = f"metrics: [{ONE.replace('sum(m)', 'sum(m), max_age: 2d')}]{AUTH}\ninterval: "
    service = _service(settings_of(f"{rules}1d"), source)
    service.start()
    _wait(lambda: service.health().ready)
    source.error = SourceUnavailable("away")
    service.apply(settings_of(f"{rules}1s"))
    assert service.provider.external("one", "any").total == 1.0
    source.error = None
    asked = len(source.asked)
    _wait(lambda: len(source.asked) > asked + 1)
    service.close()


def test_rules_ask_once_how_long_pods_take(settings_of: Read, source: FakeSource) -> None:
    rules = [f"{{name: r{i}, api: external, forecast: f, reactive: sum(m)}}" for i in range(5)]
    service = _service(settings_of(f"metrics: [{', '.join(rules)}]{AUTH}"), source)
    service.start()
    _wait(lambda: service.health().ready)
    service.close()
    assert sum("kube_pod" in query for query in source.asked) == 1


def test_the_value_last_served_is_told_of_each_api_and_of_rules_that_are_still_there(
    settings_of: Read, source: FakeSource
) -> None:
    registry = CollectorRegistry()
    assert isinstance(source.clock, FakeClock)
    meters = Meters(registry, source.clock)
    custom = "{name: one, api: custom, query: sum(k), resource: {namespace: namespace}}"
    service = Service(settings_of(f"metrics: [{ONE}, {custom}, {TWO}]{AUTH}"), source, meters, source.clock)
    external, also, two = (watch.rule for watch in service._watches)
    for api, rule, value in (("external", external, 1.0), ("keda", external, 2.0), ("custom", also, 3.0)):
        meters.answered(api, Answer(rule, (Item({}, value, source.clock.now, "0"),)), 0.1)
    meters.answered("external", Answer(two, (Item({}, 4.0, source.clock.now, "0"),)), 0.1)

    def told(name: str) -> dict[tuple[str, str], float]:
        families = [family for family in registry.collect() if family.name == name]
        return {(s.labels["api"], s.labels["metric"]): s.value for family in families for s in family.samples}

    served = {("external", "one"): 1.0, ("keda", "one"): 2.0, ("custom", "one"): 3.0, ("external", "two"): 4.0}
    assert told("cloudpulse_scaler_value") == served
    service.apply(settings_of(f"metrics: [{ONE}]{AUTH}"))
    assert told("cloudpulse_scaler_value") == {("external", "one"): 1.0, ("keda", "one"): 2.0}
    assert set(told("cloudpulse_scaler_value_age_seconds")) == {("external", "one"), ("keda", "one")}
    service.close()


def test_a_bad_reload_changes_nothing(settings_of: Read, source: FakeSource) -> None:
    service = _service(settings_of(f"metrics: [{ONE}]{AUTH}"), source)
    service.start()
    _wait(lambda: service.health().ready)
    with pytest.raises(ConfigError):
        service.apply(settings_of(f"metrics: [{TWO}]"))
    assert service.health().facts == {"metrics": 1, "without a value": []}
    service.close()


def test_a_certificate_is_made_once_for_this_host(tmp_path: Path) -> None:
    files = self_signed(tmp_path / "new" / "folder")
    made = files.cert_file.read_bytes()
    names = x509.load_pem_x509_certificate(made).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "localhost" in names.get_values_for_type(x509.DNSName)
    assert "127.0.0.1" in map(str, names.get_values_for_type(x509.IPAddress))
    assert stat.S_IMODE(files.key_file.stat().st_mode) == 0o600
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(files.cert_file, files.key_file)
    assert self_signed(files.cert_file.parent).cert_file.read_bytes() == made


@pytest.mark.parametrize("broken", ["tls.crt", "tls.key"])
def test_half_a_certificate_is_made_anew(tmp_path: Path, broken: str) -> None:
    before = self_signed(tmp_path).cert_file.read_bytes()
    (tmp_path / broken).write_text("-----BEGIN NOTHING-----")
    assert self_signed(tmp_path).cert_file.read_bytes() != before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
def test_a_folder_that_can_not_be_written_is_named() -> None:
    with pytest.raises(StoreError, match="/dev/full"):
        self_signed(Path(os.devnull).with_name("full") / "scaler")
