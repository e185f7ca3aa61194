from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from cloudpulse import names
from exporter import elsewhere
from exporter.collectors.sensors import SensorsCollector
from exporter.linux.sensors import sensors
from exporter.paths import Paths
from exporter.sensors import Sensors, Temperature


def _put(root: Path, files: dict[str, str]) -> Paths:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return Paths(sysfs=str(root))


def test_a_host_without_sensors_shows_none(tmp_path: Path) -> None:
    found = sensors(Paths(sysfs=str(tmp_path)))
    assert found == Sensors([], [], {}, None)
    assert [s for family in SensorsCollector(lambda: found).collect() for s in family.samples] == []


def test_sensors_with_the_same_label_are_told_apart_by_their_number(tmp_path: Path) -> None:
    chip = "class/hwmon/hwmon0"
    files = {f"{chip}/name": "k10temp\n"}
    for number, label in ((1, "Tctl"), (2, "Tdie"), (3, "Tdie")):
        files |= {f"{chip}/temp{number}_input": f"{number}000\n", f"{chip}/temp{number}_label": f"{label}\n"}
    found = sensors(_put(tmp_path, files)).temperatures
    assert [(one.sensor, one.celsius) for one in found] == [("Tctl", 1.0), ("Tdie temp2", 2.0), ("Tdie temp3", 3.0)]


def test_chips_of_one_kind_without_a_device_are_numbered(tmp_path: Path) -> None:
    files = {}
    for number in (0, 1):
        files |= {f"class/hwmon/hwmon{number}/name": "acpitz", f"class/hwmon/hwmon{number}/temp1_input": "20000"}
    assert [one.chip for one in sensors(_put(tmp_path, files)).temperatures] == ["acpitz", "acpitz 2"]


def test_a_sensor_that_does_not_answer_is_left_out(tmp_path: Path) -> None:
    chip = "class/hwmon/hwmon0"
    files = {f"{chip}/name": "x", f"{chip}/temp1_input": "", f"{chip}/temp2_input": "30500", f"{chip}/fan1_input": "?"}
    found = sensors(_put(tmp_path, files))
    assert found.temperatures == [Temperature("x", "temp2", 30.5)]
    assert found.fans == []


def test_a_board_without_chips_shows_its_thermal_zones(tmp_path: Path) -> None:
    zone = "class/thermal/thermal_zone0"
    paths = _put(
        tmp_path,
        {f"{zone}/type": "cpu-thermal\n", f"{zone}/temp": "48312\n", "class/thermal/cooling_device0/type": "x"},
    )
    assert sensors(paths).temperatures == [Temperature("cpu-thermal/thermal_zone0", "temp1", 48.312)]


def test_power_that_is_not_plugged_in(tmp_path: Path) -> None:
    supply = "class/power_supply"
    files = {f"{supply}/AC/type": "Mains", f"{supply}/AC/online": "0", f"{supply}/BAT1/type": "Battery"}
    paths = _put(tmp_path, files | {f"{supply}/BAT1/capacity": "41"})
    found = sensors(paths)
    assert (found.batteries, found.plugged) == ({"BAT1": 0.41}, False)


def test_a_host_without_battery_says_nothing_of_its_power(tmp_path: Path) -> None:
    paths = _put(tmp_path, {"class/power_supply/AC/type": "Mains", "class/power_supply/AC/online": "1"})
    shown = {s.name for f in SensorsCollector(lambda: sensors(paths)).collect() for s in f.samples}
    assert names.POWER_PLUGGED.name not in shown


def test_other_platforms_show_what_psutil_has(monkeypatch: pytest.MonkeyPatch) -> None:
    battery = SimpleNamespace(percent=50, power_plugged=None)
    monkeypatch.setattr(psutil, "sensors_battery", lambda: battery)
    monkeypatch.delattr(psutil, "sensors_temperatures")
    found = elsewhere.elsewhere(Paths()).sensors()
    assert found == Sensors([], (), {"battery": 0.5}, None)


def test_a_platform_where_psutil_has_nothing_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(psutil, "sensors_battery")
    monkeypatch.delattr(psutil, "sensors_temperatures")
    assert elsewhere.elsewhere(Paths()).sensors() == Sensors([])
