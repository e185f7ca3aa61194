"""What is read of a host's sensors, and psutil's reading of it for the platforms that have no sysfs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple


class Temperature(NamedTuple):
    """One sensor, in °C; None is what its chip doesn't say."""

    chip: str
    sensor: str
    celsius: float
    high: float | None = None
    critical: float | None = None


class Fan(NamedTuple):
    """One fan."""

    chip: str
    sensor: str
    rpm: float


class Sensors(NamedTuple):
    """All of a host's. Chip and sensor together are unique."""

    temperatures: Sequence[Temperature] = ()
    fans: Sequence[Fan] = ()
    batteries: Mapping[str, float] = {}
    """Charge by battery, 0 to 1."""
    plugged: bool | None = None
    """Whether it runs on outside power; None where that isn't known."""


Read = Callable[[], Sensors]
"""All sensors now; one that fails is left out."""


def elsewhere() -> Sensors:
    """By psutil: temperatures on FreeBSD, a battery on FreeBSD, macOS and Windows.

    Without the limits: psutil gives one for the other where it has only one.
    """
    found: Mapping[str, Sequence[Any]] = _ask("sensors_temperatures") or {}
    temperatures = [
        Temperature(chip, f"temp{number}", entry.current)
        for chip, entries in found.items()
        for number, entry in enumerate(entries, 1)
    ]
    battery = _ask("sensors_battery")
    if battery is None:
        return Sensors(temperatures)
    return Sensors(temperatures, (), {"battery": battery.percent / 100}, battery.power_plugged)


def _ask(function: str) -> Any:
    """What psutil's function says; None where psutil has none for the platform, or the host has nothing to read."""
    import psutil  # a sixth of the exporter's memory, and Linux does without

    ask = getattr(psutil, function, None)
    try:
        return ask() if ask else None
    except (NotImplementedError, FileNotFoundError):
        return None
