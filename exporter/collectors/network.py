"""Network devices: traffic, errors, drops, up or down."""

from __future__ import annotations

from collections.abc import Iterable

import psutil

from cloudpulse import names
from exporter.config import NetworkSettings
from exporter.families import Family, many

_FIELDS = {
    "bytes_recv": names.NETWORK_RECEIVE_BYTES,
    "bytes_sent": names.NETWORK_TRANSMIT_BYTES,
    "packets_recv": names.NETWORK_RECEIVE_PACKETS,
    "packets_sent": names.NETWORK_TRANSMIT_PACKETS,
    "errin": names.NETWORK_RECEIVE_ERRORS,
    "errout": names.NETWORK_TRANSMIT_ERRORS,
    "dropin": names.NETWORK_RECEIVE_DROPS,
    "dropout": names.NETWORK_TRANSMIT_DROPS,
}


class NetworkCollector:
    """Reads psutil."""

    def __init__(self, settings: NetworkSettings) -> None:
        self._excluded = settings.excluded

    def collect(self) -> Iterable[Family]:
        """See Collector."""
        # nowrap=False: psutil would hide counters that restart, which is Prometheus' own work, and does it better.
        devices = psutil.net_io_counters(pernic=True, nowrap=False)
        shown = {name: counters for name, counters in devices.items() if name not in self._excluded}
        for field, definition in _FIELDS.items():
            yield many(definition, (((name,), getattr(counters, field)) for name, counters in shown.items()))
        states = psutil.net_if_stats()
        yield many(names.NETWORK_UP, (((name,), float(states[name].isup)) for name in shown if name in states))
