"""Work in the background that lets a service answer meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

WORK_SECONDS = 0.001
REST_SECONDS = 0.002
"""A third of the time is work: what answers 500 requests a second needs up to half of one core."""


def with_rests(items: Iterable[T]) -> Iterator[T]:
    """`items`, with a rest after each `WORK_SECONDS` that went by between them.

    One thread of Python runs at a time, and a request changes threads several times on its way. Each time it would
    wait for a thread that computes without a pause: for the interpreter's switch interval and, on one core, for the
    system's scheduler. At hundreds of requests a second they queue up until all is computed.
    """
    began = time.monotonic()
    for item in items:
        yield item
        if time.monotonic() - began >= WORK_SECONDS:
            time.sleep(REST_SECONDS)
            began = time.monotonic()
