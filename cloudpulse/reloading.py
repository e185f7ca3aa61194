"""Reloading the config while running: a bad one leaves the old in force, and the metrics say so."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Protocol

from cloudpulse import logs, names
from cloudpulse.clock import Clock
from cloudpulse.errors import CloudPulseError, ConfigError
from cloudpulse.families import Family, one

log = logs.get(__name__)


class Rereads(Protocol):
    """A file beside the config, such as `webaccess.WebFile`."""

    def reload(self) -> None:
        """Read it again; raises ConfigError."""

    def state(self) -> Iterable[tuple[names.Definition, float]]:
        """How the last time went, as series."""


class Reload:
    """Calls `apply`, one at a time, and collects how that went. `apply` raises ConfigError to refuse.

    `web` is reloaded after it, each whether or not the other could be.
    """

    def __init__(self, apply: Callable[[], None], clock: Clock, web: Rereads | None = None) -> None:
        self._apply = apply
        self._clock = clock
        self._web = web
        self._lock = threading.Lock()
        self._succeeded = True
        self._succeeded_at = clock()

    def __call__(self) -> None:
        """Reload now; raises ConfigError."""
        with self._lock:
            try:
                self._apply()
                self._succeeded, self._succeeded_at = True, self._clock()
            except CloudPulseError as error:
                self._succeeded = False
                raise ConfigError(str(error)) from error
            finally:
                if self._web is not None:
                    self._web.reload()
            log.info("config reloaded")

    def collect(self) -> Iterable[Family]:
        """`cloudpulse_config_last_reload_*`."""
        yield one(names.CONFIG_RELOAD_OK, float(self._succeeded))
        yield one(names.CONFIG_RELOAD_TIME, self._succeeded_at)
        for definition, value in self._web.state() if self._web is not None else ():
            yield one(definition, value)
