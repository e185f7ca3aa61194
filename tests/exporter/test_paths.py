from __future__ import annotations

import msgspec
import pytest

from exporter.paths import Paths


@pytest.mark.parametrize(
    ("rootfs", "here", "on_host"),
    [
        ("/", "/", "/"),
        ("/", "/data", "/data"),
        ("/host", "/host", "/"),
        ("/host", "/host/data", "/data"),
        ("/host/", "/host/data", "/data"),
    ],
)
def test_a_mount_point_is_shown_as_on_the_host_and_reached_from_here(rootfs: str, here: str, on_host: str) -> None:
    paths = Paths(rootfs=rootfs)
    assert paths.shown(here) == on_host
    assert paths.reached(on_host) == here
    assert paths.holds(here)


def test_a_folder_whose_name_only_begins_as_the_roots_does_is_another() -> None:
    paths = Paths(rootfs="/host")
    assert not paths.holds("/hostage")
    assert paths.shown("/hostage") == "/hostage"


@pytest.mark.parametrize("key", ["procfs", "sysfs", "rootfs"])
def test_a_relative_path_is_refused_by_name(key: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=f'{key}: expected an absolute path, got "host"'):
        msgspec.convert({key: "host"}, Paths)
