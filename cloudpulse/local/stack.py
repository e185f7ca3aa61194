"""Processes that live and die together."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import requests
import urllib3

from cloudpulse.errors import CloudPulseError

STOP_SECONDS = 12.0
"""How long a stop waits before it kills: the services' own 10 s and a margin."""


@dataclass(frozen=True)
class Part:
    """One process of the stack: how it is started, and where it answers once it is ready."""

    name: str
    argv: Sequence[str]
    ready_url: str
    url: str


class Stack:
    """Starts parts, watches them, stops all. A context manager: leaving it leaves nothing running."""

    def __init__(self, log_dir: Path, environment: Mapping[str, str]) -> None:
        self._log_dir = log_dir
        self._environment = dict(environment)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Stack:
        self._log_dir.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, part: Part) -> None:
        """Start one part; what it prints goes to its log file.

        It gets a session of its own, so that a Ctrl-C in the terminal reaches only us, who then stop all in order.
        """
        with self.log(part.name).open("ab") as output:
            self._running[part.name] = subprocess.Popen(  # noqa: S603  our own programs
                list(part.argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )

    def wait_ready(self, part: Part, seconds: float) -> None:
        """Block until the part answers 200. Raises CloudPulseError with its last words when it ends or takes longer."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.check()
            if answers(part.ready_url):
                return
            time.sleep(0.1)
        raise CloudPulseError(f"{part.name} was not ready within {seconds:g} s: {self._last_words(part.name)}")

    def check(self) -> None:
        """Raises CloudPulseError when a part has ended by itself."""
        for name, process in self._running.items():
            if process.poll() is not None:
                raise CloudPulseError(f"{name} ended with code {process.returncode}: {self._last_words(name)}")

    def process(self, name: str) -> subprocess.Popen[bytes]:
        """A running part's process."""
        return self._running[name]

    def log(self, name: str) -> Path:
        """Where a part's output goes."""
        return self._log_dir / f"{name}.log"

    def stop(self) -> None:
        """Stop every part, the last started first; what doesn't go in time is killed with its children."""
        for process in reversed(self._running.values()):
            _signal(process, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for process in self._running.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _signal_group(process, signal.SIGKILL)
                process.wait()
        # Workers that a killed service could not stop itself.
        for process in self._running.values():
            _signal_group(process, signal.SIGKILL)
        self._running.clear()

    def _last_words(self, name: str) -> str:
        lines = self.log(name).read_text(errors="replace").strip().splitlines()
        return f"{' | '.join(lines[-3:]) or 'it printed nothing'} (all of it: {self.log(name)})"


def answers(url: str) -> bool:
    """Whether `url` answers 200 now. The local stack's certificates are self-signed and not verified."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
            return requests.get(url, timeout=2, verify=False).status_code == 200  # noqa: S501  loopback, see above
    except requests.RequestException:
        return False


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    if process.poll() is None:
        process.send_signal(number)


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return
