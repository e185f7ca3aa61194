"""The programs that the local stack needs and pip can't install."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from cloudpulse.errors import DependencyMissing

# Debian and Ubuntu call Alertmanager's binary prometheus-alertmanager.
_NAMES: dict[str, tuple[str, ...]] = {
    "prometheus": ("prometheus",),
    "promtool": ("promtool",),
    "alertmanager": ("alertmanager", "prometheus-alertmanager"),
}


@dataclass(frozen=True)
class Programs:
    """Full paths."""

    prometheus: str
    promtool: str
    alertmanager: str


def find() -> Programs:
    """The programs on PATH. Raises DependencyMissing that names all that are missing."""
    found = {name: next(filter(None, map(shutil.which, choices)), None) for name, choices in _NAMES.items()}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise DependencyMissing(
            f"not on PATH: {', '.join(missing)}. On Debian or Ubuntu: apt install prometheus prometheus-alertmanager "
            "(`make up` does it, as root or with sudo); elsewhere: prometheus.io/download, or `docker compose up`"
        )
    return Programs(**{name: path for name, path in found.items() if path})
