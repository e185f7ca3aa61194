"""Work in the background that lets a service answer meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

WORK_SECONDS = 0.0005
REST_SECONDS = 0.002
"""Of the time at most a fifth is work, or a quarter with many at it: what answers 500 requests a second needs half."""

_working: set[object] = set()


def with_rests(items: Iterable[T]) -> Iterator[T]:
    """`items`, with a rest after each `WORK_SECONDS` that went by between them; longer with more threads at it.

    One thread of Python runs at a time, and a request changes threads several times on its way. Each time it would
    wait for a thread that computes without a pause: for the interpreter's switch interval and, on one core, for the
    system's scheduler. At hundreds of requests a second they queue up until all is computed.
    """
    me = object()
    _working.add(me)
    try:
        began = time.monotonic()
        for item in items:
            yield item
            if time.monotonic() - began >= WORK_SECONDS:
                time.sleep(REST_SECONDS * len(_working))
                began = time.monotonic()
    finally:
        _working.discard(me)
