"""The systemd unit: accepted, closed, and open where the exporter has to look."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "packaging" / "systemd" / "cloudpulse-exporter.service"

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on PATH")


def _settings() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        if match := re.fullmatch(r"(\w+)=(.*)", line):
            found.setdefault(match[1], []).append(match[2])
    return found


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The unit as it is once its program is there."""
    path = tmp_path / UNIT.name
    path.write_text(UNIT.read_text().replace("/opt/cloudpulse/bin/cloudpulse", "/bin/true"))
    return path


def _analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=30, check=False)


@needs_systemd
def test_systemd_accepts_every_line(installed: Path) -> None:
    done = _analyze("verify", "--man=no", str(installed))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
def test_systemd_finds_it_well_closed(installed: Path) -> None:
    """Below 2 of 10 is what it calls OK; every tenth is a thing that the service could do and need not."""
    done = _analyze("security", "--offline=true", "--no-pager", "--threshold=18", str(installed))
    assert done.returncode == 0, done.stdout


def test_what_the_exporter_shows_stays_in_sight() -> None:
    settings = _settings()
    assert settings["ProtectProc"] == ["default"]
    assert settings["ProcSubset"] == ["all"]
    assert settings["ProtectHome"] == ["read-only"]
    assert settings["ProtectHostname"] == ["no"]
    assert settings["PrivateNetwork"] == ["no"]
    assert not {"TemporaryFileSystem", "InaccessiblePaths", "RootDirectory", "PrivateUsers"} & settings.keys()


def test_it_has_no_right_that_a_user_has_not() -> None:
    settings = _settings()
    assert settings["DynamicUser"] == ["yes"]
    assert settings["CapabilityBoundingSet"] == [""]
    assert settings["AmbientCapabilities"] == [""]


def test_it_stops_and_reloads_as_the_exporter_does() -> None:
    settings = _settings()
    assert settings["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    (seconds,) = settings["TimeoutStopSec"]
    assert int(seconds.removesuffix("s")) > 10  # the promise is a stop within 10 s
