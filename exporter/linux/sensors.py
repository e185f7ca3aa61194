"""Sensors from sysfs: hwmon chips, thermal zones, power supplies.

psutil would give a sensor that has only one limit the other, too; take a wireless mouse's battery for the host's; and
number equal chips in an order that changes with the next boot.
Sources: https://docs.kernel.org/hwmon/sysfs-interface.html, https://docs.kernel.org/power/power_supply_class.html,
https://docs.kernel.org/driver-api/thermal/sysfs-api.html.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from exporter.paths import Paths
from exporter.sensors import Fan, Sensors, Temperature

_NO_LIMIT_CELSIUS = 1000.0
"""A limit from here on is none: an NVMe drive without one says 65261.85 (0xffff kelvin)."""


def sensors(paths: Paths) -> Sensors:
    """All of them now, in the kernel's order."""
    temperatures: list[Temperature] = []
    fans: list[Fan] = []
    for folder, chip in _chips(Path(paths.sys("class/hwmon"))):
        inputs = [file.name.removesuffix("_input") for file in _children(folder) if file.name.endswith("_input")]
        temperatures += _temperatures(folder, chip, sorted(name for name in inputs if name.startswith("temp")))
        fans += _fans(folder, chip, sorted(name for name in inputs if name.startswith("fan")))
    supplies = Path(paths.sys("class/power_supply"))
    return Sensors(
        temperatures or list(_zones(Path(paths.sys("class/thermal")))), fans, _batteries(supplies), _plugged(supplies)
    )


def _chips(folder: Path) -> Iterator[tuple[Path, str]]:
    """Each chip's folder and a name for it that is legible, unique, and the same after the next boot.

    hwmon3 is none of these: the kernel numbers chips as their drivers load.
    """
    used: Counter[str] = Counter()
    for chip in _children(folder):
        # Old drivers keep their files in the device's folder.
        place = chip if (chip / "name").exists() else chip / "device"
        device = chip / "device"
        kind = _text(place / "name") or chip.name
        name = f"{kind}/{device.resolve().name}" if device.exists() else kind
        used[name] += 1
        yield place, name if used[name] == 1 else f"{name} {used[name]}"


def _temperatures(folder: Path, chip: str, stems: list[str]) -> Iterator[Temperature]:
    for stem, sensor in _labelled(folder, stems):
        celsius = _thousandths(folder / f"{stem}_input")
        if celsius is not None:
            limits = (_limit(folder / f"{stem}_max"), _limit(folder / f"{stem}_crit"))
            yield Temperature(chip, sensor, celsius, *limits)


def _fans(folder: Path, chip: str, stems: list[str]) -> Iterator[Fan]:
    for stem, sensor in _labelled(folder, stems):
        rpm = _number(folder / f"{stem}_input")
        if rpm is not None:
            yield Fan(chip, sensor, rpm)


def _labelled(folder: Path, stems: list[str]) -> Iterator[tuple[str, str]]:
    """Each sensor's file stem and what to call it: its label, with the stem where two have the same."""
    labels = {stem: _text(folder / f"{stem}_label") or stem for stem in stems}
    count = Counter(labels.values())
    for stem, label in labels.items():
        yield stem, label if count[label] == 1 else f"{label} {stem}"


def _zones(folder: Path) -> Iterator[Temperature]:
    """Thermal zones: all that some boards and virtual machines have."""
    for zone in _children(folder):
        celsius = _thousandths(zone / "temp") if zone.name.startswith("thermal_zone") else None
        if celsius is not None:
            yield Temperature(f"{_text(zone / 'type') or 'thermal'}/{zone.name}", "temp1", celsius)


def _batteries(folder: Path) -> dict[str, float]:
    """The host's own; a mouse's or a phone's has the scope Device."""
    found = {}
    for supply in _children(folder):
        if _text(supply / "type") == "Battery" and _text(supply / "scope") != "Device":
            percent = _number(supply / "capacity")
            if percent is not None:
                found[supply.name] = percent / 100
    return found


def _plugged(folder: Path) -> bool | None:
    online = [
        _number(supply / "online")
        for supply in _children(folder)
        if _text(supply / "type") in ("Mains", "USB") and _text(supply / "scope") != "Device"
    ]
    known = [state for state in online if state is not None]
    return any(known) if known else None


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # no such class of devices here
        return []


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _number(file: Path) -> float | None:
    """None where there is no such file, or the sensor doesn't answer, which drivers say as one error or another."""
    try:
        return float(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _thousandths(file: Path) -> float | None:
    number = _number(file)
    return None if number is None else number / 1000


def _limit(file: Path) -> float | None:
    """Chips without a limit have no file, say 0, or the largest number that they know."""
    celsius = _thousandths(file)
    return celsius if celsius is not None and 0 < celsius < _NO_LIMIT_CELSIUS else None
