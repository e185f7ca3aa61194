"""What is read of a host's sensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


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
