"""Disks and network devices: their counters, and whether a network device is up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from exporter.linux.files import KeptFile
from exporter.paths import Paths
from exporter.system import Values

_SECTOR_BYTES = 512
"""The unit of /proc/diskstats, whatever the disk's own sector is."""

_IFF_UP = 1


def disks(diskstats: bytes) -> Mapping[str, Values]:
    """See System. Source: https://docs.kernel.org/admin-guide/iostats.html."""
    found = {}
    for line in diskstats.splitlines():
        fields = line.split(None, 13)
        found[fields[2].decode(errors="surrogateescape")] = {
            "reads": int(fields[3]),
            "read_bytes": int(fields[5]) * _SECTOR_BYTES,
            "writes": int(fields[7]),
            "written_bytes": int(fields[9]) * _SECTOR_BYTES,
            "io_seconds": int(fields[12]) / 1000,
        }
    return found


def networks(net_dev: bytes) -> Mapping[str, Values]:
    """See System."""
    found = {}
    for line in net_dev.splitlines()[2:]:
        name, _, counters = line.rpartition(b":")
        fields = counters.split(None, 12)
        found[name.strip().decode(errors="surrogateescape")] = {
            "receive_bytes": int(fields[0]),
            "receive_packets": int(fields[1]),
            "receive_errors": int(fields[2]),
            "receive_drops": int(fields[3]),
            "transmit_bytes": int(fields[8]),
            "transmit_packets": int(fields[9]),
            "transmit_errors": int(fields[10]),
            "transmit_drops": int(fields[11]),
        }
    return found


class Networks:
    """Knows which network devices are up, from sysfs.

    That is the flag IFF_RUNNING, by which psutil goes, and which sysfs has not: it is set for a device that is on
    and whose state is up, or unknown as that of `lo`, whose driver doesn't say (`dev_get_flags` in Linux).
    """

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._states: dict[str, tuple[KeptFile, KeptFile]] = {}

    def up(self, devices: Iterable[str]) -> Mapping[str, bool]:
        """See System."""
        found = {}
        kept: dict[str, tuple[KeptFile, KeptFile]] = {}
        for device in devices:
            state, flags = kept[device] = self._states.get(device) or self._files(device)
            try:
                word = state.read()
                found[device] = word == b"up\n" or (word == b"unknown\n" and bool(int(flags.read(), 16) & _IFF_UP))
            except OSError:  # it went between two readings
                continue
        self._states = kept  # those of devices that are gone are closed
        return found

    def _files(self, device: str) -> tuple[KeptFile, KeptFile]:
        folder = self._paths.sys(f"class/net/{device}")
        return KeptFile(f"{folder}/operstate", at_once=True), KeptFile(f"{folder}/flags", at_once=True)
