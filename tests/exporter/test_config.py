from __future__ import annotations

from pathlib import Path

import pytest

from cloudpulse import config
from cloudpulse.errors import ConfigError
from exporter.config import Exclusion, ExporterSettings


def _settings(text: str) -> ExporterSettings:
    return config.parse(text, Path("c.yaml"), {}).section("exporter", ExporterSettings)


def test_every_collector_is_on_unless_the_file_says_otherwise() -> None:
    switches = _settings("").collectors
    assert all(getattr(switches, name) for name in switches.__struct_fields__)
    assert _settings("exporter: {collectors: {swap: false}}").collectors.swap is False


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("exporter: {collectors: {gpu: true}}", "exporter.collectors: unknown key `gpu`"),
        ("exporter: {collectors: {cpu: 1}}", "exporter.collectors.cpu: expected true or false"),
        ("exporter: {network: {devices_exclude: '['}}", "exporter.network: devices_exclude: not a regular expression"),
        ("exporter: {disk: {devices_exclude: '('}}", "exporter.disk: devices_exclude: not a regular expression"),
        ("exporter: {filesystem: {types_exclude: '*'}}", "exporter.filesystem: types_exclude: not a regular"),
    ],
)
def test_a_mistake_is_refused_with_its_place_and_reason(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _settings(text)
    assert str(caught.value).startswith("c.yaml: ")
    assert message in str(caught.value)


def test_an_exporter_with_everything_off_is_refused() -> None:
    names = ExporterSettings().collectors.__struct_fields__
    off = ", ".join(f"{name}: false" for name in names)
    with pytest.raises(ConfigError, match="every collector is off"):
        _settings(f"exporter: {{collectors: {{{off}}}}}")


@pytest.mark.parametrize("name", ["vda1", "sdb12", "nvme0n1p2", "loop7", "zram0", "ram3"])
def test_partitions_and_memory_are_no_disks_by_default(name: str) -> None:
    assert name in Exclusion(ExporterSettings().disk.devices_exclude)


@pytest.mark.parametrize("name", ["vda", "sdb", "nvme0n1", "md0", "dm-0"])
def test_disks_are_shown_by_default(name: str) -> None:
    assert name not in Exclusion(ExporterSettings().disk.devices_exclude)


@pytest.mark.parametrize("place", ["/proc", "/sys/fs/cgroup", "/dev/shm", "/run/credentials/x", "/var/lib/docker/a/b"])
def test_system_mount_points_are_left_out_by_default(place: str) -> None:
    assert place in Exclusion(ExporterSettings().filesystem.mount_points_exclude)


@pytest.mark.parametrize("place", ["/", "/home", "/development", "/var/lib/docker", "/run"])
def test_mount_points_with_files_of_the_user_are_shown_by_default(place: str) -> None:
    assert place not in Exclusion(ExporterSettings().filesystem.mount_points_exclude)


def test_an_empty_expression_excludes_nothing() -> None:
    assert "" not in Exclusion("")
    assert "eth0" not in Exclusion("")
