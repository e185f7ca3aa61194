from __future__ import annotations

import errno
from pathlib import Path

import pytest

from exporter.collectors.pressure import PressureCollector
from exporter.linux.files import KeptFile
from exporter.paths import Paths
from exporter.system import this_system

CPU = "some avg10=1.00 avg60=0.12 avg300=0.34 total=1500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"


def _shown(tmp_path: Path) -> dict[str, float]:
    collector = PressureCollector(this_system(Paths(procfs=str(tmp_path))))
    return {s.name.removeprefix("cloudpulse_node_pressure_"): s.value for f in collector.collect() for s in f.samples}


def test_a_kernel_without_pressure_shows_none(tmp_path: Path) -> None:
    assert _shown(tmp_path) == {}


def test_a_resource_that_the_kernel_does_not_have_is_absent(tmp_path: Path) -> None:
    (tmp_path / "pressure").mkdir()
    (tmp_path / "pressure/cpu").write_text(CPU)
    assert _shown(tmp_path) == {"cpu_waiting_seconds_total": 1.5}


def test_the_zero_that_the_kernel_writes_for_a_stalled_cpu_is_not_shown(tmp_path: Path) -> None:
    """It means nothing for a whole host, says the kernel's documentation."""
    (tmp_path / "pressure").mkdir()
    (tmp_path / "pressure/cpu").write_text(CPU)
    assert "cpu_stalled_seconds_total" not in _shown(tmp_path)


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOENT])
def test_pressure_turned_off_at_boot_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def read(self: KeptFile) -> bytes:
        raise OSError(number, "off")

    monkeypatch.setattr(KeptFile, "read", read)
    assert _shown(tmp_path) == {}


def test_pressure_that_may_not_be_read_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(self: KeptFile) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(KeptFile, "read", read)
    with pytest.raises(PermissionError):
        _shown(tmp_path)
