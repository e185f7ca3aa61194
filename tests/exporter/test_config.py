from __future__ import annotations

from pathlib import Path

import pytest

from cloudpulse import config
from cloudpulse.errors import ConfigError
from exporter.collectors import enabled
from exporter.config import DEFAULTS, Exclusion, ExporterSettings


def _settings(text: str) -> ExporterSettings:
    return config.parse(text, Path("c.yaml"), {}).section("exporter", ExporterSettings)


def test_the_usual_collectors_are_on_unless_the_file_says_otherwise() -> None:
    usual = {name for name, on in DEFAULTS.items() if on}
    assert set(_settings("").collectors.on) == usual
    assert set(_settings("exporter: {collectors: {swap: false}}").collectors.on) == usual - {"swap"}
    assert set(_settings("exporter: {collectors: {top: true}}").collectors.on) == usual | {"top"}


def test_with_defaults_disabled_only_those_named_are_on() -> None:
    text = "exporter: {collectors: {disable_defaults: true, load: true, top: true, cpu: false}}"
    assert _settings(text).collectors.on == ("load", "top")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("exporter: {collectors: {gpu: true}}", "exporter.collectors: unknown key `gpu`"),
        ("exporter: {collectors: {cpu: 1}}", "exporter.collectors.cpu: expected true or false"),
        ("exporter: {network: {devices_exclude: '['}}", "exporter.network: devices_exclude: not a regular expression"),
        ("exporter: {disk: {devices_exclude: '('}}", "exporter.disk: devices_exclude: not a regular expression"),
        (
            "exporter: {disk: {devices_exclude: a, devices_include: b}}",
            "exporter.disk: devices_exclude and devices_include",
        ),
        (
            "exporter: {filesystem: {types_include: '('}}",
            "exporter.filesystem: types_include: not a regular expression",
        ),
        ("exporter: {top: {count: 0}}", "exporter.top: count: expected 1 to 100, got 0"),
        ("exporter: {textfile: {directories: ['']}}", "exporter.textfile: directories: expected paths"),
        ("exporter: {textfile: {max_file_bytes: 0}}", "exporter.textfile: max_file_bytes: expected 1 or more"),
        ("exporter: {filesystem: {types_exclude: '*'}}", "exporter.filesystem: types_exclude: not a regular"),
    ],
)
def test_a_mistake_is_refused_with_its_place_and_reason(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _settings(text)
    assert str(caught.value).startswith("c.yaml: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["disable_defaults: true", ", ".join(f"{name}: false" for name in DEFAULTS)])
def test_an_exporter_with_everything_off_is_refused(text: str) -> None:
    settings = _settings(f"exporter: {{collectors: {{{text}}}}}")
    with pytest.raises(ConfigError, match="every collector is off: leave on at least one of cpu"):
        enabled(settings)


def test_a_path_that_is_not_there_is_refused() -> None:
    settings = _settings("exporter: {paths: {procfs: /host/proc}}")
    with pytest.raises(ConfigError, match=r"--path\.procfs\): /host/proc is not a folder here"):
        enabled(settings)


@pytest.mark.parametrize("name", ["vda1", "sdb12", "nvme0n1p2", "loop7", "zram0", "ram3"])
def test_partitions_and_memory_are_no_disks_by_default(name: str) -> None:
    assert name in ExporterSettings().disk.excluded


@pytest.mark.parametrize("name", ["vda", "sdb", "nvme0n1", "md0", "dm-0"])
def test_disks_are_shown_by_default(name: str) -> None:
    assert name not in ExporterSettings().disk.excluded


@pytest.mark.parametrize("place", ["/proc", "/sys/fs/cgroup", "/dev/shm", "/run/credentials/x", "/var/lib/docker/a/b"])
def test_system_mount_points_are_left_out_by_default(place: str) -> None:
    assert place in ExporterSettings().filesystem.excluded_mount_points


@pytest.mark.parametrize("place", ["/", "/home", "/development", "/var/lib/docker", "/run"])
def test_mount_points_with_files_of_the_user_are_shown_by_default(place: str) -> None:
    assert place not in ExporterSettings().filesystem.excluded_mount_points


def test_an_empty_expression_excludes_nothing() -> None:
    assert "" not in Exclusion("")
    assert "eth0" not in Exclusion("")


def test_an_expression_that_includes_leaves_out_all_else_in_place_of_the_default() -> None:
    disks = _settings("exporter: {disk: {devices_include: '^sda'}}").disk.excluded
    assert [name for name in ("sda", "sda1", "sdb", "loop0") if name not in disks] == ["sda", "sda1"]
    types = _settings("exporter: {filesystem: {types_include: '^(ext4|tmpfs)$'}}").filesystem.excluded_types
    assert [kind for kind in ("ext4", "tmpfs", "proc", "xfs") if kind not in types] == ["ext4", "tmpfs"]
