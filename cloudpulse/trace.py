"""Which request or round the work at hand is part of: a W3C trace context, carried from thread to thread by hand.

The one id that people follow, in logs, answers, audit lines and traces, is the trace id: 32 hex digits. It comes with
who asks (`traceparent`) or is made where work begins, and goes out with every request that the work makes.
Source: https://www.w3.org/TR/trace-context/ (Recommendation). Spans are `cloudpulse/otlp.py`'s.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import NamedTuple, Protocol

HEADER = "traceparent"
STATE = "tracestate"
REQUEST_ID = "X-Request-Id"
"""Header of every answer: the trace id of its request."""

# Of a version to come, what follows the flags is ignored (3.2.4 Versioning); ff is no version, zeros are no ids.
_KNOWN = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.A)
_LONGEST = 512
"""Bytes of either header: so much of a `tracestate` has to be passed on (3.3.1.5 Limits)."""
_LARGE = 128
"""Bytes of an entry that is the first to go from a longer one."""
_MOST_ENTRIES = 32
_SENDABLE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")


class Trace(NamedTuple):
    """A place in a trace: 32 and 16 hex digits, neither all zeros.

    `sampled` says whether somebody records it; None: it begins here, and with its first span that is decided.
    `state` is what others keep in `tracestate`: passed on as it came, and never looked into.
    """

    trace_id: str
    span_id: str
    sampled: bool | None = None
    state: str = ""

    @property
    def parent(self) -> str:
        """As the value of `traceparent`."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"

    @property
    def stored(self) -> str:
        """As a text to keep, for `restored`."""
        return f"{self.parent} {self.state}".rstrip()


_CURRENT: ContextVar[Trace | None] = ContextVar("trace", default=None)


def parsed(header: str | None, state: str | None = None) -> Trace | None:
    """The trace of a `traceparent` and its `tracestate`; what isn't valid of them is as if it weren't there."""
    if not header or len(header) > _LONGEST:
        return None
    found = _KNOWN.fullmatch(header.strip(" \t"))
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if more and version == "00":
        return None
    return Trace(trace_id, span_id, bool(int(flags, 16) & 1), _kept(state.strip(" \t") if state else ""))


def _kept(state: str) -> str:
    """What of a `tracestate` is passed on: as it came, unless it is too long (3.3.1.5) or can't be a header."""
    if not _SENDABLE.fullmatch(state) or state.count(",") >= _MOST_ENTRIES:
        return ""
    if len(state) <= _LONGEST:
        return state
    entries = [entry for entry in (one.strip(" \t") for one in state.split(",")) if len(entry) <= _LARGE]
    while len(",".join(entries)) > _LONGEST:
        entries.pop()
    return ",".join(entries)


def restored(text: str | None) -> Trace | None:
    """What was `stored`; None where nothing was."""
    header, _, state = (text or "").partition(" ")
    return parsed(header, state)


def begun() -> Trace:
    """A new trace."""
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
    """What to send with a request so that it is part of this trace; nothing outside of any."""
    here = _CURRENT.get()
    if here is None:
        return {}
    return {HEADER: here.parent, STATE: here.state} if here.state else {HEADER: here.parent}


COLLECTOR_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""Of the environment; either says, as the `tracing` section does, where spans are sent to."""


class Span(Protocol):
    """One piece of work of a trace, while it goes on; attributes by OpenTelemetry's semantic conventions."""

    def named(self, name: str) -> None:
        """What it is called, once that is known."""

    def set(self, name: str, value: str | float) -> None:
        """An attribute."""

    def failed(self, why: str) -> None:
        """It did not do what it was for; `why` holds no secret."""


Attributes = Mapping[str, str | float]


class Recorder(Protocol):
    """Records spans: `cloudpulse/otlp.py`. `kind` is OpenTelemetry's: internal, server or client."""

    @property
    def lost(self) -> int:
        """How many were recorded and didn't get to where they are kept."""

    def span(
        self, name: str, kind: str, attributes: Attributes, parent: Trace | None
    ) -> contextlib.AbstractContextManager[Span]:
        """One under a parent, that the block is `within`; an exception that leaves the block is its failure."""

    def past(self, name: str, attributes: Attributes, parent: Trace | None, began: float, why: str) -> None:
        """One that went on since `began`, Unix seconds, and ends now; `why` it failed, empty where it didn't."""


class _Unrecorded:
    def named(self, name: str) -> None:
        pass

    def set(self, name: str, value: str | float) -> None:
        pass

    def failed(self, why: str) -> None:
        pass


UNRECORDED: Span = _Unrecorded()
_recorder: Recorder | None = None


def record(recorder: Recorder | None) -> None:
    """From now on spans are recorded so, in the whole process; None: not at all, and they cost next to nothing."""
    global _recorder
    _recorder = recorder


def recording() -> bool:
    """Whether spans are recorded."""
    return _recorder is not None


def lost() -> int | None:
    """How many spans were lost; None while none are recorded."""
    return None if _recorder is None else _recorder.lost


@contextlib.contextmanager
def span(name: str, kind: str = "internal", **attributes: str | float) -> Iterator[Span]:
    """The block is one piece of work, of the trace that this thread works for or else of a new one.

    Two underscores in an attribute's name stand for a dot: `db__system__name`.
    """
    parent = _CURRENT.get()
    if _recorder is not None:
        with _recorder.span(name, kind, _dotted(attributes), parent) as recorded:
            yield recorded
    elif parent is not None:
        yield UNRECORDED
    else:
        with within(begun()):
            yield UNRECORDED


def past(name: str, place: Trace | None, began: float, why: str = "", **attributes: str | float) -> None:
    """Like `span`, for work of that place that went on elsewhere since `began` (Unix seconds) and has just ended."""
    if _recorder is not None:
        _recorder.past(name, _dotted(attributes), place, began, why)


def _dotted(attributes: Attributes) -> Attributes:
    return {name.replace("__", "."): value for name, value in attributes.items()}


def enter(place: Trace | None) -> None:
    """All that this thread does from now on belongs there; for who can't know when that ends, see `within`."""
    _CURRENT.set(place)


@contextlib.contextmanager
def within(place: Trace | None) -> Iterator[None]:
    """The block's work belongs there."""
    token = _CURRENT.set(place)
    try:
        yield
    finally:
        _CURRENT.reset(token)
