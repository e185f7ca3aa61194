"""Pressure stall information: https://docs.kernel.org/accounting/psi.html."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping

from exporter.linux.files import KeptFile
from exporter.paths import Paths
from exporter.system import Values

_TOTAL = re.compile(rb"^(some|full) .*\btotal=(\d+)$", re.MULTILINE)
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.EOPNOTSUPP)
"""A kernel without PSI, without the one file (irq: since 6.1, by config), or with PSI turned off at boot (psi=0)."""


class Pressure:
    """Reads /proc/pressure, whose totals are microseconds."""

    def __init__(self, paths: Paths) -> None:
        self._files = {
            name: KeptFile(paths.proc(f"pressure/{name}"), at_once=True) for name in ("cpu", "io", "memory", "irq")
        }

    def read(self) -> Mapping[str, Values]:
        """See System."""
        found = {}
        for name, file in self._files.items():
            try:
                text = file.read()
            except OSError as error:
                if error.errno not in _NOT_THERE:
                    raise
                continue
            found[name] = {kind.decode(): int(total) / 1e6 for kind, total in _TOTAL.findall(text)}
        return found
