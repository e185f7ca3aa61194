"""Keeps what is predicted up to date in Grafana, every minute, in a thread of its own."""

from __future__ import annotations

import threading

from alert_bridge.duty import Duty
from alert_bridge.grafana.crossings import Crossings
from alert_bridge.notifier import DeliveryFailed
from cloudpulse import logs
from cloudpulse.errors import SourceError, StoreError

EVERY_SECONDS = 60
HELD_SECONDS = 150
"""How long a replica that fell silent keeps the duty: two rounds and a slow one."""

log = logs.get(__name__)


class Watch:
    """Rounds of `crossings` while the duty is ours. Failures are logged and tried again at the next round."""

    def __init__(self, crossings: Crossings, duty: Duty, every_seconds: float = EVERY_SECONDS) -> None:
        self._crossings = crossings
        self._duty = duty
        self._every = every_seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="predictions to grafana", daemon=True)

    def start(self) -> None:
        """Begin with a first round."""
        self._thread.start()

    def close(self, seconds: float) -> None:
        """Stop, and wait at most so long for a round under way."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                if self._duty.mine():
                    self._crossings.round()
            except (SourceError, DeliveryFailed, StoreError) as error:
                log.warning("predictions not drawn in Grafana, will try again", error=str(error))
            except Exception:  # a bug, too, must not end the thread
                log.exception("predictions not drawn in Grafana, will try again")
            self._stopping.wait(self._every)
