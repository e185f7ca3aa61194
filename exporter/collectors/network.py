"""Network devices: traffic, errors, drops, up or down."""

from __future__ import annotations

from collections.abc import Iterable

from cloudpulse import names
from exporter.config import NetworkSettings
from exporter.devices import by_device
from exporter.families import Family, many
from exporter.system import System

_FIELDS = {
    "receive_bytes": names.NETWORK_RECEIVE_BYTES,
    "transmit_bytes": names.NETWORK_TRANSMIT_BYTES,
    "receive_packets": names.NETWORK_RECEIVE_PACKETS,
    "transmit_packets": names.NETWORK_TRANSMIT_PACKETS,
    "receive_errors": names.NETWORK_RECEIVE_ERRORS,
    "transmit_errors": names.NETWORK_TRANSMIT_ERRORS,
    "receive_drops": names.NETWORK_RECEIVE_DROPS,
    "transmit_drops": names.NETWORK_TRANSMIT_DROPS,
}


class NetworkCollector:
    """Counters of each device, and whether it is up."""

    def __init__(self, settings: NetworkSettings, system: System) -> None:
        self._excluded = settings.excluded
        self._system = system

    def collect(self) -> Iterable[Family]:
        """See Collector."""
        devices = self._system.networks()
        shown = {device: counters for device, counters in devices.items() if device not in self._excluded}
        yield from by_device(_FIELDS, shown)
        states = self._system.networks_up(shown)
        yield many(names.NETWORK_UP, (((device,), float(up)) for device, up in states.items()))
