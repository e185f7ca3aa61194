"""Reloading the config while running: a bad one leaves the old in force, and the metrics say so."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from cloudpulse import logs, names
from cloudpulse.clock import Clock
from cloudpulse.errors import CloudPulseError, ConfigError
from cloudpulse.families import Family, one

log = logs.get(__name__)


class Reload:
    """Calls `apply`, one at a time, and collects how that went. `apply` raises ConfigError to refuse."""

    def __init__(self, apply: Callable[[], None], clock: Clock) -> None:
        self._apply = apply
        self._clock = clock
        self._lock = threading.Lock()
        self._succeeded = True
        self._succeeded_at = clock()

    def __call__(self) -> None:
        """Reload now; raises ConfigError."""
        with self._lock:
            try:
                self._apply()
            except CloudPulseError as error:
                self._succeeded = False
                raise ConfigError(str(error)) from error
            self._succeeded, self._succeeded_at = True, self._clock()
            log.info("config reloaded")

    def collect(self) -> Iterable[Family]:
        """`cloudpulse_config_last_reload_*`."""
        yield one(names.CONFIG_RELOAD_OK, float(self._succeeded))
        yield one(names.CONFIG_RELOAD_TIME, self._succeeded_at)
