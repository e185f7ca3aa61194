"""Swap space and its traffic."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import psutil

from cloudpulse import names
from exporter.families import Family, one


class SwapCollector:
    """Reads psutil."""

    def __init__(self) -> None:
        self._counts_traffic = _counts_traffic()

    def collect(self) -> Iterable[Family]:
        """See Collector."""
        swap = psutil.swap_memory()
        yield one(names.SWAP_TOTAL, swap.total)
        yield one(names.SWAP_USED, swap.used)
        yield one(names.SWAP_FREE, swap.free)
        if self._counts_traffic:
            yield one(names.SWAP_IN, swap.sin)
            yield one(names.SWAP_OUT, swap.sout)


def _counts_traffic() -> bool:
    """Whether the platform counts what goes to swap and back.

    psutil gives 0 where it doesn't: always on Windows, with a warning on a Linux without those lines in /proc/vmstat.
    Asked when the collector is made and not at each scrape, since catching warnings isn't thread-safe.
    """
    if psutil.WINDOWS:
        return False
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            psutil.swap_memory()
        except (OSError, RuntimeError):  # the scrape will meet it again, and report it
            return False
    return not caught
