"""Temperatures, fans and batteries, where the platform shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cloudpulse import names
from exporter.families import Family, many, one
from exporter.sensors import Sensors


class SensorsCollector:
    """Shows what `read` finds."""

    def __init__(self, read: Callable[[], Sensors]) -> None:
        self._read = read

    def collect(self) -> Iterable[Family]:
        """See Collector."""
        found = self._read()
        temperatures = [((sensor.chip, sensor.sensor), sensor) for sensor in found.temperatures]
        families = [
            many(names.SENSOR_TEMPERATURE, ((labels, sensor.celsius) for labels, sensor in temperatures)),
            many(names.SENSOR_TEMPERATURE_HIGH, ((labels, sensor.high) for labels, sensor in temperatures)),
            many(names.SENSOR_TEMPERATURE_CRITICAL, ((labels, sensor.critical) for labels, sensor in temperatures)),
            many(names.SENSOR_FAN, (((fan.chip, fan.sensor), fan.rpm) for fan in found.fans)),
            many(names.BATTERY_CHARGE, (((name,), ratio) for name, ratio in found.batteries.items())),
        ]
        if found.batteries and found.plugged is not None:
            families.append(one(names.POWER_PLUGGED, float(found.plugged)))
        yield from (family for family in families if family.values)
