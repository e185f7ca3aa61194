"""Which request or round the work at hand is part of: a W3C trace context, carried from thread to thread by hand.

The one id that people follow, in logs, answers, audit lines and traces, is the trace id: 32 hex digits. It comes with
who asks (`traceparent`) or is made where work begins, and goes out with every request that the work makes.
Source: https://www.w3.org/TR/trace-context/ (Recommendation). Spans are `cloudpulse/tracing.py`'s.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import NamedTuple, Protocol

HEADER = "traceparent"

# Of a version to come, what follows the flags is ignored (3.2.4 Versioning); ff is no version, zeros are no ids.
_KNOWN = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.A)
_LONGEST = 512


class Trace(NamedTuple):
    """A place in a trace: 32 and 16 hex digits, neither all zeros; `sampled` says that somebody records it."""

    trace_id: str
    span_id: str
    sampled: bool = False

    @property
    def parent(self) -> str:
        """As the value of `traceparent`."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


_CURRENT: ContextVar[Trace | None] = ContextVar("trace", default=None)


def parsed(header: str | None) -> Trace | None:
    """The trace of a `traceparent`; None for one that isn't valid, which is as if it weren't there."""
    if not header or len(header) > _LONGEST:
        return None
    found = _KNOWN.fullmatch(header.strip(" \t"))
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if more and version == "00":
        return None
    return Trace(trace_id, span_id, bool(int(flags, 16) & 1))


def begun() -> Trace:
    """A new trace, which nobody records."""
    drawn = os.urandom(24).hex()
    made = Trace(drawn[:32], drawn[32:])
    # One in 2**64, but an id of zeros is none.
    return made if made.trace_id.strip("0") and made.span_id.strip("0") else begun()


def current() -> Trace | None:
    """Where this thread's work belongs; None outside of any."""
    return _CURRENT.get()


def identifier() -> str:
    """The trace id of this thread's work; empty outside of any."""
    here = _CURRENT.get()
    return here.trace_id if here is not None else ""


def headers() -> Mapping[str, str]:
    """What to send with a request so that it is part of this trace: `traceparent`, or nothing outside of any."""
    here = _CURRENT.get()
    return {} if here is None else {HEADER: here.parent}


class Span(Protocol):
    """One piece of work of a trace, while it goes on. `cloudpulse/tracing.py` has those that are recorded."""

    def set(self, name: str, value: str | float | None) -> None:
        """An attribute, by OpenTelemetry's conventions where they have a name for it; None is none."""

    def failed(self, why: str) -> None:
        """It did not do what it was for."""


Recorder = Callable[[str, str, Mapping[str, str | float], Trace | None], contextlib.AbstractContextManager[Span]]
"""Records a span of this name, kind and attributes under a parent, which its block is then `within`."""


class _Unrecorded:
    def set(self, name: str, value: str | float | None) -> None:
        pass

    def failed(self, why: str) -> None:
        pass


_UNRECORDED = _Unrecorded()
_recorder: Recorder | None = None


def record(recorder: Recorder | None) -> None:
    """From now on spans are recorded so, in the whole process; None: not at all, and they cost next to nothing."""
    global _recorder
    _recorder = recorder


@contextlib.contextmanager
def span(name: str, kind: str = "internal", **attributes: str | float) -> Iterator[Span]:
    """The block is one piece of work, of the trace that this thread works for or else of a new one.

    `kind` is OpenTelemetry's: internal, server, client, producer or consumer. Two underscores in an attribute's name
    stand for a dot: `db__system__name`.
    """
    parent = _CURRENT.get()
    if _recorder is not None:
        named = {key.replace("__", "."): value for key, value in attributes.items()}
        with _recorder(name, kind, named, parent) as recorded:
            yield recorded
    elif parent is not None:
        yield _UNRECORDED
    else:
        with within(begun()):
            yield _UNRECORDED


@contextlib.contextmanager
def within(place: Trace | None) -> Iterator[None]:
    """The block's work belongs there."""
    token = _CURRENT.set(place)
    try:
        yield
    finally:
        _CURRENT.reset(token)
