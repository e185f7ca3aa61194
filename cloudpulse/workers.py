"""The threads that run WSGI apps: as many as there are requests at once, up to a number, kept for the next ones.

While all are busy, addresses take turns: a flood of one doesn't put another's request behind all of its own.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from typing import Protocol

from cloudpulse import logs

CUT_SECONDS = 0.5
"""Between cutting the clients of what is still under way at a stop and leaving it behind."""

log = logs.get(__name__)


class Job(Protocol):
    """A connection with a whole request."""

    @property
    def address(self) -> tuple[str, int]:
        """Of the client."""

    @property
    def held(self) -> int:
        """Bytes in memory for it; the same for as long as it waits."""

    def cut(self) -> None:
        """Let the client go at once, from another thread than the one that works on it."""


class Workers:
    """Does `work` with each job, in at most `most` threads, which don't keep the process alive.

    Each is done in a context of its own (contextvars): what one sets, such as its trace, is gone with it.
    """

    def __init__(self, work: Callable[[Job], None], most: int) -> None:
        self._work = work
        self._most = most
        self._jobs: dict[str, deque[Job]] = {}  # by address; the first has its turn
        self._waiting = self._held = 0
        self._busy: dict[threading.Thread, Job] = {}
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._stopping = False
        self._changed = threading.Condition()

    @property
    def waiting(self) -> int:
        """How many jobs no thread has taken."""
        return self._waiting

    @property
    def held(self) -> int:
        """Bytes of the jobs that no thread has taken."""
        return self._held

    @property
    def busy(self) -> bool:
        """Whether another job would wait for one of those that are under way."""
        return len(self._threads) >= self._most and self._waiting >= self._idle

    def put(self, job: Job) -> None:
        """Have it done."""
        with self._changed:
            self._jobs.setdefault(job.address[0], deque()).append(job)
            self._waiting += 1
            self._held += job.held
            if self._waiting > self._idle and len(self._threads) < self._most:
                thread = threading.Thread(target=self._run, name=f"worker {len(self._threads)}", daemon=True)
                try:
                    thread.start()
                    self._threads.add(thread)
                except RuntimeError:  # the system has no more
                    if not self._threads:
                        raise
            self._changed.notify()

    def stop(self, until: float) -> None:
        """Finish what there is until then, by `time.monotonic`; cut the clients of the rest and leave it behind."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        for job in list(self._busy.values()):
            with suppress(OSError):
                job.cut()
        until = time.monotonic() + CUT_SECONDS
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        if left := sum(thread.is_alive() for thread in threads):
            log.warning("requests under way were left behind", count=left)

    def _run(self) -> None:
        me = threading.current_thread()
        while (job := self._next()) is not None:
            self._busy[me] = job
            try:
                Context().run(self._work, job)
            except BaseException:  # SystemExit, too: a thread less for each would end in none
                log.error("worker failed", exc_info=True)
            finally:
                del self._busy[me]

    def _next(self) -> Job | None:
        with self._changed:
            self._idle += 1
            while not self._jobs and not self._stopping:
                self._changed.wait()
            self._idle -= 1
            if not self._jobs:
                return None
            address = next(iter(self._jobs))
            jobs = self._jobs.pop(address)
            job = jobs.popleft()
            self._waiting -= 1
            self._held -= job.held
            if jobs:
                self._jobs[address] = jobs  # behind all others
            return job
