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
        temperatures = [((one.chip, one.sensor), one) for one in found.temperatures]
        yield many(names.SENSOR_TEMPERATURE, ((labels, one.celsius) for labels, one in temperatures))
        yield many(names.SENSOR_TEMPERATURE_HIGH, ((labels, one.high) for labels, one in temperatures))
        yield many(names.SENSOR_TEMPERATURE_CRITICAL, ((labels, one.critical) for labels, one in temperatures))
        yield many(names.SENSOR_FAN, (((fan.chip, fan.sensor), fan.rpm) for fan in found.fans))
        yield many(names.BATTERY_CHARGE, (((name,), ratio) for name, ratio in found.batteries.items()))
        if found.batteries and found.plugged is not None:
            yield one(names.POWER_PLUGGED, float(found.plugged))
