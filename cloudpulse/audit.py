"""The audit log: who did what, from where, with what result; JSON lines in a file of its own, or in the log.

A line is one write to a file opened for appending (mode 0600 where it is made), so that lines of several threads or
processes never mix. A file that was moved away, as logrotate does, is made anew with the next line, which needs no
signal. Lines are not flushed to disk one by one: they survive `kill -9`, a power cut takes the last seconds of them.

What is audited stands as it was decided when its line can't be written: an ack at night must not fail on a full disk.
Such a line goes to the log instead, is counted, and the first failure is an error there.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cloudpulse import logs, names, trace
from cloudpulse.errors import ConfigError
from cloudpulse.families import Family, one

STDOUT = "-"

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)

log = logs.get(__name__)


class Stream:
    """An open audit log at `path`; `-` is stdout. Raises ConfigError when it can't be opened. For several threads."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._torn = False
        self._failing = False
        self.failures = 0
        try:
            self._file = os.dup(1) if path == STDOUT else self._opened()
        except OSError as error:
            raise ConfigError(f"--audit-log: can't write {path}: {error.strerror}") from error

    def write(self, line: Mapping[str, object]) -> bool:
        """Whether it is in the file; if not, a failure is counted, and the first one in a row is logged."""
        # ASCII, so that no character of a name can end a line or steer a terminal.
        text = json.dumps(logs.plain(line)).encode() + b"\n"
        with self._lock:
            try:
                self._append(text)
            except OSError as error:
                self.failures += 1
                if not self._failing:
                    log.error("audit line not written: it is in this log instead", file=self._path, error=str(error))
                self._failing = True
                return False
            if self._failing:
                log.info("audit lines are written again", file=self._path, failures=self.failures)
            self._failing = False
        return True

    def close(self) -> None:
        """Let the file go."""
        os.close(self._file)

    def _append(self, text: bytes) -> None:
        if self._path != STDOUT and self._moved():
            opened = self._opened()
            os.close(self._file)
            self._file, self._torn = opened, False
        # What a full disk left of a line is ended, so that it spoils no other.
        whole = b"\n" + text if self._torn else text
        written = os.write(self._file, whole)
        self._torn = written < len(whole) and (self._torn or written > 0)
        if written < len(whole):
            raise OSError(None, "only a part of the line was written")

    def _moved(self) -> bool:
        try:
            there = Path(self._path).stat()
        except FileNotFoundError:
            return True
        return not os.path.samestat(there, os.fstat(self._file))

    def _opened(self) -> int:
        return os.open(self._path, _FLAGS, 0o600)


_stream: Stream | None = None


def to(path: str | None) -> None:
    """From now on the whole process' audit log is there; None: in the log. Raises ConfigError."""
    global _stream
    opened = None if path is None else Stream(path)
    if _stream is not None:
        _stream.close()
    _stream = opened


def written(
    who: str, action: str, result: str, *, origin: Mapping[str, object] | None = None, about: Mapping[str, object]
) -> bool:
    """Write a line; False where there is no audit log, or it failed: then the caller logs it.

    `origin` is `from`, where it came from, and what else is known of that. Texts of people belong into `about`.
    """
    if _stream is None:
        return False
    line: dict[str, Any] = {"time": logs.timestamp(time.time()), "who": who, "from": "", **(origin or {})}
    line |= {"action": action, "result": result, "about": about, "trace_id": trace.identifier()}
    return _stream.write(line)


class Failures:
    """Collects how many lines could not be written."""

    def collect(self) -> Iterable[Family]:
        """`cloudpulse_audit_failures_total`."""
        yield one(names.AUDIT_FAILURES, float(_stream.failures if _stream is not None else 0))
