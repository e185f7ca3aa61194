"""What is done again and again beside the requests: beats, the deletion of what is old."""

from __future__ import annotations

import threading
from collections.abc import Callable

from cloudpulse import logs
from cloudpulse.errors import StoreError

log = logs.get(__name__)


class Recurring:
    """Does `action` at once and then every `seconds`, in a thread of its own, until `stopping`."""

    def __init__(self, name: str, seconds: float, action: Callable[[], object], stopping: threading.Event) -> None:
        self._name = name
        self._seconds = seconds
        self._action = action
        self._stopping = stopping
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self, seconds: float) -> None:
        """Wait at most so long for an action under way, once `stopping` is set."""
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._action()
            except StoreError as error:
                if self._stopping.is_set():  # the database was closed under it
                    return
                log.error(f"{self._name} failed, will try again", error=str(error))
            except Exception:  # a bug, too, must not end it for as long as the process lives
                log.exception(f"{self._name} broke, will try again")
            self._stopping.wait(self._seconds)
