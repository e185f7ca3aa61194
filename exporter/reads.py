"""Reads of sources that may hang: each with a deadline, shared by all who ask at once, never under way twice.

The kernel lets nothing interrupt a call to a disk or a server that is gone. So reads run in a standing thread, not
in the one that must answer; only while a read is slow do other threads take over those behind it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue
from typing import Generic, NamedTuple, TypeVar

Value = TypeVar("Value")

SLOW_SECONDS = 0.1
"""A read that takes longer no longer holds up those behind it."""


class Outcome(NamedTuple, Generic[Value]):
    """How a read went: its value, or the error that it ended with; TimeoutError where it has not ended."""

    seconds: float
    """How long it took, or has taken so far."""
    value: Value | None = None
    error: Exception | None = None


class _Read(Generic[Value]):
    """One read; `gate` is locked until it has ended: an Event costs fifteen times as much."""

    __slots__ = ("gate", "given_up", "outcome", "source", "started", "work")

    def __init__(self, source: str, work: Callable[[], Value]) -> None:
        self.source = source
        self.work = work
        self.started: float | None = None
        self.outcome: Outcome[Value] | None = None
        self.given_up = False
        self.gate = threading.Lock()
        self.gate.acquire()


class Reads(Generic[Value]):
    """Reads sources by name, for several threads at once.

    Whoever asks within `shared_seconds` of a read's begin gets that read's outcome; nobody gets an older one. A read
    that missed a deadline counts as failed at once for all who ask until it ends, and what it then says is not used.
    """

    def __init__(self, title: str, shared_seconds: float = 0.0, clock: Callable[[], float] = time.perf_counter) -> None:
        """`title` names the threads; `clock` says when reads begin and end."""
        self._title = title
        self._shared_seconds = shared_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._queue: SimpleQueue[_Read[Value]] = SimpleQueue()
        self._last: dict[str, _Read[Value]] = {}
        self._next: dict[str, _Read[Value]] = {}  # begins when the last one of the same source ends
        self._threads = self._busy = 0

    def read(self, works: Mapping[str, Callable[[], Value]], seconds: float) -> dict[str, Outcome[Value]]:
        """The outcome of every source in `works`, in that order, after at most `seconds`.

        A read is shared between calls that give the same function for the same source.
        """
        asked_at, deadline = self._clock(), time.monotonic() + seconds
        with self._lock:
            self._forget(works, asked_at)
            reads = [self._begun(source, work, asked_at) for source, work in works.items()]
            if not self._threads:
                self._add_thread()
        self._wait(reads, deadline, min(SLOW_SECONDS, seconds / 20))
        with self._lock:
            return {read.source: self._outcome(read) for read in reads}

    def _forget(self, works: Mapping[str, object], asked_at: float) -> None:
        """Let go of sources that nobody asks for any more: mount points come and go."""
        for source in self._last.keys() - works.keys():
            read = self._last[source]
            if read.outcome is not None and not self._fresh(read, asked_at):
                del self._last[source]

    def _begun(self, source: str, work: Callable[[], Value], asked_at: float) -> _Read[Value]:
        last = self._last.get(source)
        if last is not None and last.outcome is None and last.given_up:
            return self._refused(last)
        if last is not None and last.work is work and self._fresh(last, asked_at):
            return last
        read = _Read(source, work)
        if last is None or last.outcome is not None:
            self._last[source] = read
            self._queue.put(read)
            return read
        waiting = self._next.get(source)
        if waiting is None or waiting.work is not work:
            waiting = self._next[source] = read
        return waiting

    def _fresh(self, read: _Read[Value], asked_at: float) -> bool:
        return read.started is None or read.started >= asked_at - self._shared_seconds

    def _refused(self, last: _Read[Value]) -> _Read[Value]:
        """A read that has failed before it begins: `last` may end any moment, but would show what was long ago."""
        read = _Read(last.source, last.work)
        read.outcome = self._overdue(last)
        read.gate.release()
        return read

    def _overdue(self, read: _Read[Value]) -> Outcome[Value]:
        if read.started is None:
            return Outcome(0.0, error=TimeoutError("not begun in time: what was read before it took too long"))
        taken = self._clock() - read.started
        return Outcome(
            taken, error=TimeoutError(f"no answer for {taken:.3g} s, and not asked again until there is one")
        )

    def _wait(self, reads: Sequence[_Read[Value]], deadline: float, slow_seconds: float) -> None:
        for read in reversed(reads):  # the last is read last: one wake-up instead of one for each
            while not read.gate.acquire(timeout=max(0.0, min(slow_seconds, deadline - time.monotonic()))):
                if time.monotonic() >= deadline:
                    return
                with self._lock:
                    if self._busy == self._threads and not self._queue.empty():
                        self._add_thread()
            read.gate.release()  # for whoever else waits

    def _outcome(self, read: _Read[Value]) -> Outcome[Value]:
        if read.outcome is not None:
            return read.outcome
        read.given_up = read.started is not None
        return self._overdue(read)

    def _add_thread(self) -> None:
        threading.Thread(target=self._work, name=self._title, daemon=True).start()
        self._threads += 1

    def _work(self) -> None:
        """Read until another thread is free to go on: in normal times there is one."""
        while True:
            read = self._queue.get()
            with self._lock:
                self._busy += 1
                read.started = started = self._clock()
            outcome = self._ended(read.work, started)
            with self._lock:
                self._busy -= 1
                read.outcome = outcome
                read.gate.release()
                following = self._next.pop(read.source, None)
                if following is not None:
                    self._last[read.source] = following
                    self._queue.put(following)
                if self._threads - self._busy > 1:
                    self._threads -= 1
                    return

    def _ended(self, work: Callable[[], Value], started: float) -> Outcome[Value]:
        try:
            value = work()
        except Exception as error:  # noqa: BLE001  whatever it is, it belongs to whoever asked
            return Outcome(self._clock() - started, error=error)
        return Outcome(self._clock() - started, value)
