"""What the host is: name, kernel, distribution."""

from __future__ import annotations

import platform
import re
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

from cloudpulse import names
from exporter.families import Family, many
from exporter.paths import Paths

_RELEASES = ("/etc/os-release", "/usr/lib/os-release")


class InfoCollector:
    """System the platform; the host's name at each scrape, since it can change while running."""

    def __init__(self, paths: Paths) -> None:
        release = _release(paths)
        self._distribution, self._version = release.get("ID", ""), release.get("VERSION_ID", "")

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


def _release(paths: Paths) -> Mapping[str, str]:
    """Such as ID=debian and VERSION_ID=12; nothing where os-release(5) isn't to be had."""
    for place in _RELEASES:
        try:
            text = Path(paths.reached(place)).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        pairs = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
        return {key.strip(): _unquoted(value) for key, _, value in pairs}
    return {}


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value.strip().strip("\"'"))
