"""What the host is: name, kernel, distribution."""

from __future__ import annotations

import platform
import socket
from collections.abc import Iterable

from cloudpulse import names
from exporter.families import Family, many


class InfoCollector:
    """Reads the platform; the host's name at each scrape, since it can change while running."""

    def __init__(self) -> None:
        self._distribution, self._version = _distribution()

    def collect(self) -> Iterable[Family]:
        """See Collector."""
        host = platform.uname()
        labels = (
            socket.gethostname(),
            host.system,
            host.release,
            host.machine,
            self._distribution,
            self._version,
        )
        yield many(names.NODE_INFO, [(labels, 1.0)])


def _distribution() -> tuple[str, str]:
    """Such as ("debian", "12"); empty where os-release(5) says nothing."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return "", ""
    return release.get("ID", ""), release.get("VERSION_ID", "")
